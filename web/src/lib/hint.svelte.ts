/** The one small window that tells about the token under the pointer or in focus. */

export interface Hint {
  anchor: DOMRect
  token: string
  lines: string[]
}

class Hints {
  current = $state.raw<Hint>()

  show(element: Element, token: string, lines: string[]): void {
    // A token that is broken over two lines is pointed at where it begins.
    const anchor = element.getClientRects()[0] ?? element.getBoundingClientRect()
    this.current = { anchor, token, lines }
  }

  hide(): void {
    this.current = undefined
  }
}

export const hints = new Hints()
export const HINT_ID = 'hint'
