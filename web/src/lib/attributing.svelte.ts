/** Why the model says a token: the answer, and what ablation does to it as it is found out. */

import { SvelteMap } from 'svelte/reactivity'
import * as api from '../api/client'
import type { Agreement, AskedToken, Attributed } from '../api/types'
import { Streamed } from './streamed.svelte'

export class Attributing extends Streamed {
  answer = $state.raw<Attributed>()
  /** By the number of a contribution, how much lower the logit difference is without it. */
  effects = new SvelteMap<number, number>()
  agreement = $state.raw<Agreement>()

  /** Ask anew; the answer before stays until there is another. */
  start(run: string, asked: AskedToken): Promise<void> {
    return this.follow(async (signal) => {
      for await (const event of api.attribute(run, asked, signal)) {
        if (event.attributed) {
          this.answer = event.attributed
          this.agreement = undefined
          this.effects.clear()
        }
        for (const one of event.ablated ?? []) this.effects.set(one.contribution, one.effect)
        if (event.agreement) this.agreement = event.agreement
      }
    })
  }
}
