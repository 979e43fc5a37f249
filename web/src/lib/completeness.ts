/** Names that have a feature or not, in one dictionary or several, as curves and as a table. */

import type { RunCompleteness } from '../api/types'

type Fit = NonNullable<RunCompleteness['fit']>

/** The fitted share of names that are present, at so many occurrences a million tokens. */
export const share = (fit: Fit, perMillion: number): number => 1 / (1 + Math.exp(-fit.slope * (Math.log10(perMillion) - fit.middle)))

/** The exponents of ten between which all names lie, with a little room. */
export function ends(runs: RunCompleteness[]): [number, number] {
  const all = runs.flatMap((run) => run.names.map((one) => Math.log10(one.per_million)))
  return [Math.min(...all) - 0.15, Math.max(...all) + 0.15]
}

export interface NameRow {
  name: string
  count: number
  /** What each run has of it, undefined where it was not looked for. */
  found: (RunCompleteness['names'][number] | undefined)[]
}

/** Every name with what each run has of it, the most frequent first. */
export function names(runs: RunCompleteness[]): NameRow[] {
  const by = runs.map((run) => new Map(run.names.map((one) => [one.name, one])))
  return [...new Set(runs.flatMap((run) => run.names.map((one) => one.name)))]
    .map((name) => {
      const found = by.map((one) => one.get(name))
      return { name, count: Math.max(...found.map((one) => one?.count ?? 0)), found }
    })
    .sort((a, b) => b.count - a.count || a.name.localeCompare(b.name))
}
