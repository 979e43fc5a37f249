/** Features of a static copy, filtered, searched and sorted here, in the order in which a server would give them. */

import type { Summary } from '../api/types'

/** What a list is asked for, as the address of the API has it. */
export interface Chosen {
  search?: string | null
  sort?: string | null
  ids?: number[] | null
  alive?: boolean | null
  labelled?: boolean | null
  starred?: boolean | null
  min_density?: number
  max_density?: number
  limit?: number
  offset?: number
}

const wordsOf = (text: string): string[] =>
  text.normalize('NFD').replace(/\p{Mn}/gu, '').toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean)

/** How well a feature answers to a search: by its label first, then by what it fires on, then by what it promotes. */
function match(one: Summary, search: string): number {
  const named = wordsOf([one.label?.text ?? '', ...one.concepts].join(' '))
  const asked = wordsOf(search)
  if (asked.length && asked.every((word) => named.some((name) => name.startsWith(word)))) return 2
  const parts = search.toLowerCase().split(/\s+/).filter(Boolean)
  const holds = ({ text }: { text: string }): boolean => parts.some((part) => text.toLowerCase().includes(part))
  const all = [...one.top_tokens, ...one.promoted].map(({ text }) => text.toLowerCase())
  if (!parts.every((part) => all.some((text) => text.includes(part)))) return 0
  const share = one.top_tokens.filter(holds).reduce((sum, token) => sum + token.share, 0)
  return share || 1e-6
}

const KEYS: Record<string, (one: Summary) => number> = {
  id: (one) => one.feature,
  density: (one) => one.density,
  maximum: (one) => one.maximum,
  mean: (one) => one.mean,
  'output-score': (one) => one.output_score ?? -Infinity,
  'input-score': (one) => one.input_score ?? -Infinity,
}

const compared = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0)

export function chosen(all: Summary[], asked: Chosen): { total: number; features: Summary[] } {
  const search = asked.search?.trim()
  const ids = asked.ids && new Set(asked.ids)
  let found = all.filter(
    (one) =>
      (!ids || ids.has(one.feature)) &&
      (asked.alive == null || one.n_active > 0 === asked.alive) &&
      (asked.labelled == null || (one.label !== null) === asked.labelled) &&
      (asked.starred == null || one.starred === asked.starred) &&
      one.density >= (asked.min_density ?? 0) &&
      one.density <= (asked.max_density ?? 1),
  )
  if (search) {
    const matches = new Map(found.map((one) => [one, match(one, search)]))
    found = found.filter((one) => matches.get(one)).sort((a, b) => matches.get(b)! - matches.get(a)!)
  }
  const key = asked.sort && KEYS[asked.sort.replace(/^-/, '')]
  if (key) found.sort((a, b) => (asked.sort!.startsWith('-') ? compared(key(b), key(a)) : compared(key(a), key(b))) || a.feature - b.feature)
  const from = asked.offset ?? 0
  return { total: found.length, features: found.slice(from, from + (asked.limit ?? 50)) }
}
