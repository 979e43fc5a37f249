/** What is steered, as the address has it: '12*2.5,40*0' holds feature 12 at 2.5 times its maximum, and 40 at 0. */

export interface Held {
  feature: number
  strength: number
}

export const MOST_HELD = 8
export const LEAST = -4
export const MOST = 10
export const FIRST = 2

export function held(text: string): Held[] {
  const found = new Map<number, number>()
  for (const part of text.split(',')) {
    const [, feature, strength] = /^(\d+)\*(-?\d+(?:\.\d+)?)$/.exec(part) ?? []
    if (feature && strength) found.set(Number(feature), Math.min(MOST, Math.max(LEAST, Number(strength))))
  }
  return [...found].slice(0, MOST_HELD).map(([feature, strength]) => ({ feature, strength }))
}

export const written = (all: Held[]): string => all.map((one) => `${one.feature}*${one.strength}`).join(',')
