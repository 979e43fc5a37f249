/**
 * A static copy of the page (`semascope export-site`) has no server behind it, and only some of the pages and features;
 * its head says which. Nothing can be edited there, and no model reads.
 */

const said = (name: string): string[] | undefined =>
  document.querySelector<HTMLMetaElement>(`meta[name="semascope-${name}"]`)?.content.split(' ')

/** The pages that the copy has, and its features in order; undefined where a server answers. */
export const copiedPages = said('pages')
export const copiedFeatures = said('features')?.map(Number)

export const live = copiedFeatures === undefined
const among = new Set(copiedFeatures)

/** Whether a feature of the run has a page here. */
export const there = (feature: number): boolean => live || among.has(feature)

/** The feature some steps on, round and round; `n`: how many the run has. */
export function beside(feature: number, step: number, n: number): number {
  if (!copiedFeatures) return (feature + step + n) % n
  const { length } = copiedFeatures
  return copiedFeatures[(copiedFeatures.indexOf(feature) + step + length) % length]!
}

export function any(n: number): number {
  const place = Math.floor(Math.random() * (copiedFeatures?.length ?? n))
  return copiedFeatures?.[place] ?? place
}
