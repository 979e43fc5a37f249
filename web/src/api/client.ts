/** Every question to the server, typed by its OpenAPI schema (schema.ts is generated from it). */

import createClient from 'openapi-fetch'
import type { paths } from './schema'

const client = createClient<paths>({ baseUrl: '' })

/** What went wrong, in the server's words where it answered. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message)
  }
}

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

async function of<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await asked
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Problem('The server does not answer. See whether “semascope serve” still runs, then try again.', 0)
  }
  if (answer.data !== undefined) return answer.data
  const detail = (answer.error as { detail?: unknown } | undefined)?.detail
  throw new Problem(typeof detail === 'string' ? detail : `The server answered with status ${answer.response.status}.`, answer.response.status)
}

export type Width = 'narrow' | 'medium' | 'wide'
export type Choice = NonNullable<paths['/api/runs/{run}/features']['get']['parameters']['query']>

const run = '/api/runs/{run}'
const feature = '/api/runs/{run}/features/{feature}'
type Signal = AbortSignal | undefined

const at = (run: string, feature: number) => ({ path: { run, feature } })

export const runs = (signal: Signal) => of(client.GET('/api/runs', { signal: signal ?? null }))

export const overview = (name: string, signal: Signal) =>
  of(client.GET(run, { params: { path: { run: name } }, signal: signal ?? null }))

export const features = (name: string, query: Choice, signal: Signal) =>
  of(client.GET(`${run}/features`, { params: { path: { run: name }, query }, signal: signal ?? null }))

export const detail = (name: string, id: number, signal: Signal) =>
  of(client.GET(feature, { params: at(name, id), signal: signal ?? null }))

export const contexts = (name: string, id: number, width: Width, signal: Signal) =>
  of(client.GET(`${feature}/contexts`, { params: { ...at(name, id), query: { width } }, signal: signal ?? null }))

export const intervals = (name: string, id: number, width: Width, signal: Signal) =>
  of(client.GET(`${feature}/intervals`, { params: { ...at(name, id), query: { width } }, signal: signal ?? null }))

/** An empty text removes what was written. */
export const writeLabel = (name: string, id: number, text: string) =>
  of(
    text.trim()
      ? client.PUT(`${feature}/label`, { params: at(name, id), body: { text } })
      : client.DELETE(`${feature}/label`, { params: at(name, id) }),
  )

export const writeNote = (name: string, id: number, text: string) =>
  of(
    text.trim()
      ? client.PUT(`${feature}/note`, { params: at(name, id), body: { text } })
      : client.DELETE(`${feature}/note`, { params: at(name, id) }),
  )

export const star = (name: string, id: number, starred: boolean) =>
  of(
    starred
      ? client.PUT(`${feature}/star`, { params: at(name, id) })
      : client.DELETE(`${feature}/star`, { params: at(name, id) }),
  )

export const lists = (name: string, signal?: Signal) =>
  of(client.GET(`${run}/lists`, { params: { path: { run: name } }, signal: signal ?? null }))

export const beginList = (name: string, list: string) =>
  of(client.POST(`${run}/lists`, { params: { path: { run: name } }, body: { name: list } }))

export const putOnList = (name: string, list: string, id: number, listed: boolean) => {
  const params = { path: { run: name, name: list, feature: id } }
  return of(
    listed
      ? client.PUT(`${run}/lists/{name}/features/{feature}`, { params })
      : client.DELETE(`${run}/lists/{name}/features/{feature}`, { params }),
  )
}
