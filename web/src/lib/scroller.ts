/**
 * Scrolling over more rows than a browser can make a box high.
 *
 * The box is at most `LIMIT` pixels high. Small movements of the scroll bar move the rows pixel by pixel; large ones (the
 * bar was dragged, or a key jumps) go to the same share of the whole.
 */
const LIMIT = 8_000_000

export class Scroller {
  readonly extent: number
  readonly #whole: number
  readonly #view: number
  /** Where the rows are minus where the scroll bar is. */
  #offset = 0
  #last = 0

  constructor(total: number, rowHeight: number, view: number) {
    this.#whole = total * rowHeight
    this.#view = view
    this.extent = Math.min(this.#whole, LIMIT)
  }

  /** The position over all rows, in pixels, once the scroll bar is at `bar`. */
  scrolled(bar: number): number {
    const far = Math.abs(bar - this.#last) > this.#view
    this.#last = bar
    if (this.#whole <= this.extent) return bar
    const proportional = (bar / (this.extent - this.#view)) * (this.#whole - this.#view)
    // At both ends the bar and the rows have to agree.
    const atEnd = bar <= 0 || bar >= this.extent - this.#view - 1
    if (far || atEnd) this.#offset = proportional - bar
    return this.clamp(bar + this.#offset)
  }

  /** Where the scroll bar has to be for `position`, which the rows keep exactly. */
  jump(position: number): number {
    if (this.#whole <= this.extent) return (this.#last = position)
    const bar = Math.round((position / (this.#whole - this.#view)) * (this.extent - this.#view))
    this.#offset = position - bar
    this.#last = bar
    return bar
  }

  clamp(position: number): number {
    return Math.max(0, Math.min(position, this.#whole - this.#view))
  }
}
