/** The answers of a static copy: files at the addresses of the API; the list of features is searched here. */

import { chosen, type Chosen } from '../lib/choosing'
import type { Summary } from './types'

const LIST = '/api/runs/{run}/features'
const FOUND = '/api/runs/{run}/map/found'

const lists = new Map<string, Promise<Summary[]>>()

/** The answer to a question; `read` fetches a file, and `address` fills in a route. */
export async function fromFiles(
  route: string,
  query: object,
  address: (route: string) => string,
  read: (file: string) => Promise<unknown>,
): Promise<unknown> {
  if (route !== LIST && route !== FOUND) return read(`${address(route)}.json`)
  const all = await list(`${address(LIST)}.json`, read)
  if (route === LIST) return chosen(all, query as Chosen)
  return chosen(all, { ...query, alive: true, limit: all.length }).features.map((one) => one.feature)
}

/** The list of all features, which is fetched once. */
function list(file: string, read: (file: string) => Promise<unknown>): Promise<Summary[]> {
  const coming = lists.get(file) ?? read(file).then((told) => (told as { features: Summary[] }).features)
  lists.set(file, coming)
  coming.catch(() => lists.delete(file))
  return coming
}
