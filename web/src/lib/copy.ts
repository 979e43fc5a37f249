/** What can be taken along from a feature's page: a link, JSON, a snippet of HTML, a picture. */

import type { Context } from '../api/types'

export interface Told {
  title: string
  /** What model, site and dictionary it belongs to. */
  origin: string
  scale: number
  contexts: Context[]
}

const HEAT = '240, 140, 30'
const level = (value: number, scale: number): number => (value > 0 ? 0.1 + 0.6 * Math.min(1, value / scale) : 0)

function escaped(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/[&<>"']/g, (character) => names[character]!)
}

/** A figure that stands by itself in any page: no script, no style sheet. */
export function snippet({ title, origin, scale, contexts }: Told): string {
  const lines = contexts.map(({ tokens }) => {
    const text = tokens.map((token) => {
      const shown = escaped(token.text.replaceAll('\n', '⏎'))
      if (token.value <= 0) return shown
      const colour = `rgba(${HEAT}, ${level(token.value, scale).toFixed(2)})`
      return `<span style="background: ${colour}" title="${token.value.toPrecision(3)}">${shown}</span>`
    })
    return `  <p style="margin: .4em 0; white-space: pre-wrap">${text.join('')}</p>`
  })
  return [
    '<figure style="font: 15px/1.6 system-ui, sans-serif; margin: 1em 0">',
    `  <figcaption><strong>${escaped(title)}</strong> <small>${escaped(origin)}</small></figcaption>`,
    ...lines,
    '</figure>',
  ].join('\n')
}

/** The same as a picture, 800 pixels wide and drawn at twice that. */
export async function picture({ title, origin, scale, contexts }: Told): Promise<Blob> {
  const [width, margin, line, gap] = [800, 32, 24, 10]
  const canvas = document.createElement('canvas')
  const pen = canvas.getContext('2d')!
  const text = '15px "Inter Variable", system-ui, sans-serif'

  const draw = (visible: boolean): number => {
    let y = margin + 22
    const write = (words: string, x: number, font: string, colour: string): void => {
      pen.font = font
      pen.fillStyle = colour
      if (visible) pen.fillText(words, x, y)
    }
    write(title, margin, '600 22px "Source Serif 4 Variable", Georgia, serif', '#1c1a17')
    y += 22
    write(origin, margin, '12px "Inter Variable", system-ui, sans-serif', '#6c665d')
    y += 12
    for (const { tokens } of contexts) {
      y += line + gap
      let x = margin
      pen.font = text
      for (const token of tokens) {
        const shown = token.text.replaceAll('\n', '⏎')
        const wide = pen.measureText(shown).width
        if (x + wide > width - margin && x > margin) {
          x = margin
          y += line
        }
        if (visible && token.value > 0) {
          pen.fillStyle = `rgba(${HEAT}, ${level(token.value, scale)})`
          pen.fillRect(x, y - 16, wide, 21)
        }
        write(shown, x, text, '#1c1a17')
        x += wide
      }
    }
    return y + margin
  }

  await document.fonts.ready
  const height = draw(false)
  canvas.width = width * 2
  canvas.height = height * 2
  pen.scale(2, 2)
  pen.fillStyle = '#ffffff'
  pen.fillRect(0, 0, width, height)
  draw(true)
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The picture could not be drawn.')))),
  )
}

/** Save a file, as if it had been downloaded. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}
