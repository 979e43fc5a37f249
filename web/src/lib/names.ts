/** Names of regions on a map: the coarse ones first, finer ones as one comes nearer, none upon another. */

import type { Region } from '../api/types'
import type { Frame } from './view'

const HALO = 4
const SIZES = [16, 13.5, 12]

const font = (scale: number): string =>
  `${scale ? 500 : 600} ${SIZES[Math.min(scale, SIZES.length - 1)]}px "Source Serif 4 Variable", Georgia, serif`

/** How fine the regions are whose names are shown at a zoom. */
export function finest(zoom: number): number {
  return zoom < 1.6 ? 0 : zoom < 5 ? 1 : 2
}

export function drawNames(pen: CanvasRenderingContext2D, regions: Region[], frame: Frame, ink: string, paper: string): void {
  const taken: [number, number, number, number][] = []
  pen.textAlign = 'center'
  pen.textBaseline = 'middle'
  pen.lineJoin = 'round'
  pen.lineWidth = HALO
  for (const { name, scale, x, y } of regions) {
    if (!name || scale > finest(frame.view.zoom) || !frame.holds(x, y)) continue
    pen.font = font(scale)
    const half = pen.measureText(name).width / 2 + HALO
    // A name near the edge is moved in, as far as it has to be.
    const left = Math.max(half, Math.min(frame.width - half, frame.left(x)))
    const top = Math.max(14, Math.min(frame.height - 14, frame.top(y)))
    if (2 * half > frame.width || taken.some(([l, t, w, h]) => Math.abs(l - left) < w + half && Math.abs(t - top) < h + 12)) continue
    taken.push([left, top, half, 12])
    pen.strokeStyle = paper
    pen.strokeText(name, left, top)
    pen.fillStyle = ink
    pen.fillText(name, left, top)
  }
}
