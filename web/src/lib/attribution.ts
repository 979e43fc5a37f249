/** A question about a next token as the address has it, and its answer as rows and sums. */

import type { AskedToken, Attributed } from '../api/types'

export const ABLATIONS = 100
export const MOST_ABLATIONS = 2000
/** How many rows are shown at first; so many are ablated besides. */
export const FIRST_ROWS = 30

export const ORDERS = [
  ['for', 'For the target'],
  ['against', 'Against it'],
  ['ablation', 'By ablation'],
  ['activation', 'By activation'],
] as const
export type Order = (typeof ORDERS)[number][0]

export interface Row {
  /** The contribution's number in the answer. */
  number: number
  feature: number
  position: number
  activation: number
  attribution: number
  effect: number | undefined
}

export interface Question {
  prompt: string
  target: string
  baseline: string
  first: boolean
  ablations: number
}

export function question(query: URLSearchParams): Question {
  const asked = query.get('ablations')
  const ablations = asked !== null && /^\d+$/.test(asked) ? Math.min(Number(asked), MOST_ABLATIONS) : ABLATIONS
  return {
    prompt: query.get('prompt') ?? '',
    target: query.get('target') ?? '',
    baseline: query.get('baseline') ?? '',
    first: query.has('first'),
    ablations,
  }
}

/** What the server is asked; undefined while something is missing. */
export function asked({ prompt, target, baseline, first, ablations }: Question): AskedToken | undefined {
  if (!prompt.trim() || !target) return undefined
  return { prompt, target, baseline: baseline || null, first_token: first, ablations, top: ablations ? FIRST_ROWS : 0, seed: 0 }
}

export function rows(answer: Attributed, effects: Map<number, number>, order: Order, at: number | undefined): Row[] {
  const all = answer.contributions.map((one, number) => ({ ...one, number, effect: effects.get(number) }))
  const here = at === undefined ? all : all.filter((one) => one.position === at)
  // They come with the largest attribution first.
  if (order === 'for') return here
  if (order === 'against') return here.reverse()
  if (order === 'activation') return here.sort((a, b) => b.activation - a.activation)
  return here.sort((a, b) => (b.effect ?? -Infinity) - (a.effect ?? -Infinity) || a.number - b.number)
}

/** What the features at each position add to the logit difference. */
export function sums(answer: Attributed): number[] {
  const found = answer.tokens.map(() => 0)
  for (const one of answer.contributions) found[one.position]! += one.attribution
  return found
}

export const signed = (value: number, digits = 2): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`
