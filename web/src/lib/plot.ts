/**
 * Many points drawn into the pixels of a canvas, without WebGL: what a frame costs is bounded, since discs grow only as
 * far as their number allows, and it looks the same on every machine.
 */

import type { Frame } from './view'

export interface Points {
  x: Float32Array
  y: Float32Array
}

/** Red, green and blue as a pixel holds them. */
export type Colour = number

const INK = 0.16 // the share of the surface that all discs together may cover, of the whole map
const OPAQUE = 220 // of 256: where discs lie on one another, one sees that there are several

/** How large discs of some number of points are drawn, in pixels of the page. */
export function radius(n: number, { width, height, view }: Frame): number {
  const whole = Math.sqrt((INK * width * height) / (Math.PI * Math.max(1, n)))
  return Math.max(0.8, Math.min(6, Math.min(3.5, whole) * Math.sqrt(view.zoom)))
}

/** The numbers of points in the order of their shades, so that those of a higher shade lie on top. */
export function byShade(shades: Uint8Array): Uint32Array {
  const starts = new Uint32Array(257)
  for (const shade of shades) starts[shade + 1]! += 1
  for (let shade = 1; shade < 257; shade++) starts[shade]! += starts[shade - 1]!
  const order = new Uint32Array(shades.length)
  for (let point = 0; point < shades.length; point++) order[starts[shades[point]!]!++] = point
  return order
}

/** Draw points, each in the colour and at the radius (in pixels of the image) of its shade. */
export function plot(
  image: ImageData, points: Points, order: Uint32Array, shades: Uint8Array, frame: Frame, ratio: number,
  paper: Colour, colours: Colour[], radii: number[],
): void {
  const { width, height } = image
  const pixels = new Uint32Array(image.data.buffer)
  pixels.fill(paper | 0xff000000)
  const stamps = radii.map(stamp)
  const [scale, x0, y0] = [frame.scale * ratio, frame.left(0) * ratio, frame.top(0) * ratio]
  for (const point of order) {
    const shade = shades[point]!
    const { size, cover } = stamps[shade]!
    const left = Math.round(x0 + points.x[point]! * scale - size / 2)
    const top = Math.round(y0 - points.y[point]! * scale - size / 2)
    if (left < 0 || top < 0 || left + size > width || top + size > height) continue
    const colour = colours[shade]!
    for (let row = 0, from = 0, to = top * width + left; row < size; row++, to += width - size) {
      for (let column = 0; column < size; column++, from++, to++) {
        const share = cover[from]!
        if (share) pixels[to] = mixed(pixels[to]!, colour, share)
      }
    }
  }
}

function mixed(under: number, over: number, share: number): number {
  const redBlue = under & 0xff00ff
  const green = under & 0xff00
  return (
    0xff000000 |
    ((redBlue + ((((over & 0xff00ff) - redBlue) * share) >> 8)) & 0xff00ff) |
    ((green + ((((over & 0xff00) - green) * share) >> 8)) & 0xff00)
  )
}

/** A disc as the cover of pixels, from 0 to 256. */
function stamp(radius: number): { size: number; cover: Uint16Array } {
  const size = Math.ceil(2 * radius) + 1
  const cover = new Uint16Array(size * size)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const distance = Math.hypot(row - (size - 1) / 2, column - (size - 1) / 2)
      cover[row * size + column] = OPAQUE * Math.max(0, Math.min(1, radius + 0.5 - distance))
    }
  }
  return { size, cover }
}

/** The point nearest to a place, within some pixels of it. */
export function nearest(points: Points, frame: Frame, left: number, top: number, within: number): number | undefined {
  const x = frame.view.x + (left - frame.width / 2) / frame.scale
  const y = frame.view.y - (top - frame.height / 2) / frame.scale
  let least = (within / frame.scale) ** 2
  let found: number | undefined
  for (let point = 0; point < points.x.length; point++) {
    const distance = (points.x[point]! - x) ** 2 + (points.y[point]! - y) ** 2
    if (distance < least) [least, found] = [distance, point]
  }
  return found
}
