/** Texts as the model writes them: default and steered ones, side by side. */

import * as api from '../api/client'
import type { AskedText } from '../api/types'

export interface Written {
  text: string
  ended: 'stop' | 'length' | 'context' | null
}

export interface Pair {
  normal: Written
  steered: Written
}

export class Writing {
  pairs = $state<Pair[]>([])
  error = $state.raw<Error>()
  /** Whether texts are being written. */
  runs = $state(false)
  #cancel = new AbortController()

  /** Write anew, in place of what was written. */
  async start(run: string, asked: AskedText): Promise<void> {
    this.stop()
    const cancel = (this.#cancel = new AbortController())
    const nothing = (): Written => ({ text: '', ended: null })
    this.pairs = Array.from({ length: asked.samples ?? 1 }, () => ({ normal: nothing(), steered: nothing() }))
    this.error = undefined
    this.runs = true
    try {
      for await (const event of api.steer(run, asked, cancel.signal)) {
        const one = this.pairs[event.sample]![event.steered ? 'steered' : 'normal']
        one.text += event.text ?? ''
        one.ended = event.ended ?? one.ended
      }
    } catch (problem) {
      if (!cancel.signal.aborted) this.error = problem as Error
    } finally {
      if (this.#cancel === cancel) this.runs = false
    }
  }

  /** The server stops the model when nobody reads on. */
  stop(): void {
    this.#cancel.abort()
  }
}
