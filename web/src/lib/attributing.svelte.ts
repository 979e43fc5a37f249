/** Why the model says a token: the answer, and what ablation does to it as it is found out. */

import { SvelteMap } from 'svelte/reactivity'
import * as api from '../api/client'
import type { Agreement, AskedToken, Attributed } from '../api/types'

export class Attributing {
  answer = $state.raw<Attributed>()
  /** By the number of a contribution, how much lower the logit difference is without it. */
  effects = new SvelteMap<number, number>()
  agreement = $state.raw<Agreement>()
  error = $state.raw<Error>()
  /** Whether there is more to come. */
  runs = $state(false)
  #cancel = new AbortController()

  /** Ask anew; the answer before stays until there is another. */
  async start(run: string, asked: AskedToken): Promise<void> {
    this.stop()
    const cancel = (this.#cancel = new AbortController())
    this.error = undefined
    this.runs = true
    try {
      for await (const event of api.attribute(run, asked, cancel.signal)) {
        if (event.attributed) {
          this.answer = event.attributed
          this.agreement = undefined
          this.effects.clear()
        }
        for (const one of event.ablated ?? []) this.effects.set(one.contribution, one.effect)
        if (event.agreement) this.agreement = event.agreement
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
