/** Which part of a map is seen: where its middle lies, and how many times larger than the whole it is drawn. */

export interface View {
  x: number
  y: number
  zoom: number
}

export const WHOLE: View = { x: 0, y: 0, zoom: 1 }
const MOST = 400
const MARGIN = 0.94

export function limited({ x, y, zoom }: View): View {
  const within = (value: number): number => Math.max(-1, Math.min(1, value))
  return { x: within(x), y: within(y), zoom: Math.max(0.8, Math.min(MOST, zoom)) }
}

/** As it stands in an address; the whole map where nothing sensible does. */
export function readView(text: string | null): View {
  const [x = NaN, y = NaN, zoom = NaN] = (text ?? '').split(',').map(Number)
  return [x, y, zoom].every(Number.isFinite) ? limited({ x, y, zoom }) : WHOLE
}

export function writeView({ x, y, zoom }: View): string {
  const text = `${x.toFixed(4)},${y.toFixed(4)},${zoom.toFixed(2)}`
  return text === '0.0000,0.0000,1.00' ? '' : text
}

/** A view on a surface of some size: from the map's coordinates, -1 to 1 and y upwards, to pixels and back. */
export class Frame {
  readonly scale: number

  constructor(
    readonly view: View,
    readonly width: number,
    readonly height: number,
  ) {
    this.scale = (view.zoom * MARGIN * Math.max(1, Math.min(width, height))) / 2
  }

  left(x: number): number {
    return this.width / 2 + (x - this.view.x) * this.scale
  }

  top(y: number): number {
    return this.height / 2 - (y - this.view.y) * this.scale
  }

  holds(x: number, y: number): boolean {
    return Math.abs(x - this.view.x) * this.scale <= this.width / 2 && Math.abs(y - this.view.y) * this.scale <= this.height / 2
  }

  /** The view after everything moved by some pixels. */
  moved(right: number, down: number): View {
    return limited({ ...this.view, x: this.view.x - right / this.scale, y: this.view.y + down / this.scale })
  }

  /** The view some times larger; what is at a place stays there. */
  zoomed(factor: number, left = this.width / 2, top = this.height / 2): View {
    const { zoom } = limited({ ...this.view, zoom: this.view.zoom * factor })
    const kept = (1 - this.view.zoom / zoom) / this.scale
    return limited({
      x: this.view.x + (left - this.width / 2) * kept,
      y: this.view.y - (top - this.height / 2) * kept,
      zoom,
    })
  }
}
