/** The colours of the style sheets as numbers, for what is drawn and not styled. */

import type { Colour } from './plot'
import { settings } from './settings.svelte'

const dark = window.matchMedia('(prefers-color-scheme: dark)')
let changes = $state(0)
dark.addEventListener('change', () => (changes += 1))

/** A colour as CSS has it, as text that a canvas takes, and as a pixel; read again where the theme changes. */
export function resolved(element: HTMLElement, colour: string): { text: string; pixel: Colour } {
  void [settings.theme, changes]
  const before = element.style.color
  element.style.color = colour
  const text = getComputedStyle(element).color
  element.style.color = before
  const pen = new OffscreenCanvas(1, 1).getContext('2d')!
  pen.fillStyle = text
  pen.fillRect(0, 0, 1, 1)
  const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data
  return { text, pixel: red! | (green! << 8) | (blue! << 16) }
}
