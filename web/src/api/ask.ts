/** One question to the server, typed by its OpenAPI schema (schema.ts is generated from it). */

import { live } from '../lib/site'
import { fromFiles } from './files'
import type { paths } from './schema'

type Method = 'get' | 'put' | 'post' | 'delete'
type Route<M extends Method> = { [P in keyof paths]: paths[P][M] extends undefined ? never : P }[keyof paths]
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>
type Part<O, Name extends string> = O extends { parameters: { [N in Name]?: infer X } } ? X : never
type Body<O> = O extends { requestBody: { content: { 'application/json': infer X } } } ? X : undefined
type Answer<O> = O extends { responses: { 200: { content: { 'application/json': infer X } } } } ? X : never
type Line<O> = O extends { responses: { 200: { content: { 'application/x-ndjson': infer X } } } } ? X : never

export type Query<P extends keyof paths> = NonNullable<Part<Operation<P, 'get'>, 'query'>>

interface Asked<O> {
  path?: Part<O, 'path'>
  query?: Part<O, 'query'>
  body?: Body<O>
  signal?: AbortSignal | undefined
}

/** What went wrong, in the server's words where it answered; status 0 where it did not. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message)
  }
}

/** The answer to a question. Raises Problem for every other, and AbortError once `signal` has given it up. */
export async function ask<M extends Method, P extends Route<M>>(
  method: M,
  route: P,
  asked: Asked<Operation<P, M>>,
): Promise<Answer<Operation<P, M>>> {
  const found = live
    ? (await answered(method, route, asked)).json()
    : fromFiles(route, asked.query ?? {}, (one) => filled(one, asked.path ?? {}), async (file) => (await fetched(file)).json())
  return (await found) as Answer<Operation<P, M>>
}

/** The lines of an answer as they come. Raises as `ask` does, and Problem where the answer breaks off. */
export async function* lines<M extends Method, P extends Route<M>>(
  method: M,
  route: P,
  asked: Asked<Operation<P, M>>,
): AsyncGenerator<Line<Operation<P, M>>> {
  const response = await answered(method, route, asked)
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      if (asked.signal?.aborted) throw error
      throw new Problem('The answer broke off. See whether “semascope serve” still runs, then try again.', 0)
    })
    if (done) return
    const whole = (rest + value).split('\n')
    rest = whole.pop()!
    for (const line of whole) yield JSON.parse(line) as Line<Operation<P, M>>
  }
}

async function answered<O>(method: Method, route: string, { path, query, body, signal }: Asked<O>): Promise<Response> {
  const request: RequestInit = { method: method.toUpperCase(), signal: signal ?? null }
  if (body !== undefined) {
    request.body = JSON.stringify(body)
    request.headers = { 'Content-Type': 'application/json' }
  }
  return fetched(filled(route, path ?? {}) + words(query ?? {}), request)
}

async function fetched(address: string, request: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(address, request)
  } catch (error) {
    if (request.signal?.aborted) throw error
    throw new Problem(
      live
        ? 'The server does not answer. See whether “semascope serve” still runs, then try again.'
        : 'This cannot be fetched. See whether you are online, then try again.',
      0,
    )
  }
  if (response.ok) return response
  const told: unknown = await response.json().catch(() => undefined)
  const detail = (told as { detail?: unknown } | undefined)?.detail
  throw new Problem(typeof detail === 'string' ? detail : `The server answered with status ${response.status}.`, response.status)
}

function filled(route: string, path: object): string {
  const values = path as Record<string, string | number>
  // Relative, as everything else that the page loads.
  return route.slice(1).replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name]!))
}

function words(query: object): string {
  const found = new URLSearchParams()
  for (const [name, value] of Object.entries(query) as [string, unknown][]) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) found.append(name, String(one))
    }
  }
  const text = found.toString()
  return text && `?${text}`
}
