/** Texts as the model writes them: default and steered ones, side by side. */

import * as api from '../api/client'
import type { AskedText } from '../api/types'
import { Streamed } from './streamed.svelte'

export interface Written {
  text: string
  ended: 'stop' | 'length' | 'context' | null
}

export interface Pair {
  normal: Written
  steered: Written
}

export class Writing extends Streamed {
  pairs = $state<Pair[]>([])

  /** Write anew, in place of what was written. */
  start(run: string, asked: AskedText): Promise<void> {
    const nothing = (): Written => ({ text: '', ended: null })
    this.pairs = Array.from({ length: asked.samples ?? 1 }, () => ({ normal: nothing(), steered: nothing() }))
    return this.follow(async (signal) => {
      for await (const event of api.steer(run, asked, signal)) {
        const one = this.pairs[event.sample]![event.steered ? 'steered' : 'normal']
        one.text += event.text ?? ''
        one.ended = event.ended ?? one.ended
      }
    })
  }
}
