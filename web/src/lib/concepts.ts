/** Concepts of suites, as a list that is searched, filtered and sorted. */

import type { ScoredConcept, ScoredSuite } from '../api/types'

export const PAGES = [['concepts', 'Concepts'], ['completeness', 'Completeness']] as const

export const ORDERS = [['suite', 'As in the suite'], ['auc', 'AUC'], ['specificity', 'Specificity'], ['density', 'Rarest feature']] as const
export type Order = (typeof ORDERS)[number][0]

export const WHICH = [['all', 'All'], ['yes', 'With a feature'], ['no', 'Without']] as const
export type Which = (typeof WHICH)[number][0]

const KEYS: Record<Exclude<Order, 'suite'>, (one: ScoredConcept) => number> = {
  auc: (one) => -one.auc,
  specificity: (one) => -(one.specificity ?? -1),
  density: (one) => one.density,
}

/** The suites with those of their concepts that are asked for, in order; suites without any are left out. */
export function chosen(suites: ScoredSuite[], search: string, which: Which, order: Order): ScoredSuite[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  return suites
    .map((suite) => {
      const text = (one: ScoredConcept): string => `${one.concept} ${suite.name} ${one.feature}`.toLowerCase()
      const concepts = suite.concepts.filter(
        (one) => words.every((word) => text(one).includes(word)) && (which === 'all' || one.exists === (which === 'yes')),
      )
      if (order !== 'suite') concepts.sort((a, b) => KEYS[order](a) - KEYS[order](b))
      return { ...suite, concepts }
    })
    .filter((suite) => suite.concepts.length)
}
