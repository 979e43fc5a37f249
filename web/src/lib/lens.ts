/** What a lens tells, as rows: of the whole text, of a token, and where two texts differ. */

import type { Lens, LensFeature } from '../api/types'

export interface Row {
  of: LensFeature
  value: number
  other?: number
}

const SHOWN = 50

export function ofText(lens: Lens): Row[] {
  return lens.features.slice(0, Math.min(lens.n_first, SHOWN)).map((of) => ({ of, value: of.attribution ?? of.total }))
}

export function ofToken(lens: Lens, token: number): Row[] {
  const known = new Map(lens.features.map((one) => [one.feature, one]))
  return (lens.tokens[token]?.features ?? []).flatMap(({ feature, value, attribution }) => {
    const of = known.get(feature)
    return of ? [{ of, value: attribution ?? value }] : []
  })
}

/**
 * Means over tokens, so that the longer text does not win; attributions, which are to one token each, as they are. A feature that only one text tells of counts as silent in the
 * other, where it is at most weaker than the two hundred that are told.
 */
export function differing(one: Lens, other: Lens): Row[] {
  const means = (lens: Lens): Map<number, number> =>
    new Map(lens.features.map((of) => [of.feature, of.attribution ?? of.total / lens.tokens.length]))
  const [here, there] = [means(one), means(other)]
  const all = new Map([...other.features, ...one.features].map((of) => [of.feature, of]))
  return [...all.values()]
    .map((of) => ({ of, value: here.get(of.feature) ?? 0, other: there.get(of.feature) ?? 0 }))
    .sort((a, b) => Math.abs(b.value - b.other) - Math.abs(a.value - a.other))
    .slice(0, SHOWN)
}
