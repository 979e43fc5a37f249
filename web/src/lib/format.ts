/** Numbers and tokens as people read them. */

const whole = new Intl.NumberFormat('en-US')
const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 })

export const count = (value: number): string => whole.format(value)
export const short = (value: number): string => (Math.abs(value) < 10_000 ? whole.format(value) : compact.format(value))

/** Three significant digits, without an exponent where one can do without. */
export function figure(value: number): string {
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1000) return whole.format(Math.round(value))
  if (size < 0.001) return value.toExponential(1).replace('e', ' e')
  return value.toPrecision(3)
}

export function percent(share: number): string {
  const value = share * 100
  if (value === 0) return '0 %'
  if (value < 0.001) return '< 0.001 %'
  return `${value < 0.1 ? value.toPrecision(1) : value < 10 ? value.toPrecision(2) : value.toFixed(value < 99.95 ? 1 : 0)} %`
}

const SIGNS: Record<string, string> = { ' ': '·', '\n': '⏎', '\r': '␍', '\t': '⇥', '\u00a0': '⍽', '\u200b': '∅' }

export interface Part {
  text: string
  /** Whether it stands for something that cannot be seen. */
  sign: boolean
}

/** A token with its outer spaces, line breaks and control characters made visible. */
export function visible(token: string): Part[] {
  if (token === '') return [{ text: 'empty', sign: true }]
  const parts: Part[] = []
  const put = (text: string, sign: boolean): void => {
    const last = parts.at(-1)
    if (last && last.sign === sign) last.text += text
    else parts.push({ text, sign })
  }
  const inner = token.trim()
  const begin = token.indexOf(inner)
  ;[...token.slice(0, begin)].forEach((character) => put(SIGNS[character] ?? named(character), true))
  for (const character of inner) {
    if (/[\u0000-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/.test(character)) {
      put(SIGNS[character] ?? named(character), true)
    } else put(character, false)
  }
  ;[...token.slice(begin + inner.length)].forEach((character) => put(SIGNS[character] ?? named(character), true))
  return parts
}

function named(character: string): string {
  return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`
}
