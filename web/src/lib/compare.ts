/** The kinds of features that two dictionaries have, from either side, as they stand in an address. */

import type { ComparedRuns } from '../api/types'

export interface Kind {
  /** As it stands in the address. */
  path: string
  /** As the server calls it. */
  kind: 'split' | 'alone' | 'shared'
  /** Whether its features are those of the other run. */
  there: boolean
  says: (here: string, there: string) => string
  count: (runs: ComparedRuns) => number
}

export const KINDS: Kind[] = [
  { path: 'split', kind: 'split', there: false, says: (here, there) => `of ${here} split in ${there}`, count: (runs) => runs.here.n_split },
  { path: 'alone-there', kind: 'alone', there: true, says: (here, there) => `of ${there} are not in ${here}`, count: (runs) => runs.there.n_alone },
  { path: 'alone', kind: 'alone', there: false, says: (here, there) => `of ${here} are not in ${there}`, count: (runs) => runs.here.n_alone },
  { path: 'shared', kind: 'shared', there: false, says: () => 'are each other’s best counterpart', count: (runs) => runs.here.n_shared },
  { path: 'split-there', kind: 'split', there: true, says: (here, there) => `of ${there} split in ${here}`, count: (runs) => runs.there.n_split },
]

/** Orders of a list; without one, what makes its features those of the list decides. */
export const ORDERS = [
  ['', 'By family or cosine'],
  ['-density', 'Most often active'],
  ['-maximum', 'Strongest'],
] as const

export const kindOf = (path: string | null): Kind => KINDS.find((one) => one.path === path) ?? KINDS[0]!

/** A cosine from 0 to 1 as it stands in an address; null for what is none. */
export function cosineOf(text: string | null): number | null {
  const value = Number(text ?? NaN)
  return text !== '' && value >= 0 && value <= 1 ? value : null
}
