/** One question to the server, typed by its OpenAPI schema (schema.ts is generated from it). */

import type { paths } from './schema'

type Method = 'get' | 'put' | 'post' | 'delete'
type Route<M extends Method> = { [P in keyof paths]: paths[P][M] extends undefined ? never : P }[keyof paths]
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>
type Part<O, Name extends string> = O extends { parameters: { [N in Name]?: infer X } } ? X : never
type Body<O> = O extends { requestBody: { content: { 'application/json': infer X } } } ? X : undefined
type Answer<O> = O extends { responses: { 200: { content: { 'application/json': infer X } } } } ? X : never

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
  { path, query, body, signal }: Asked<Operation<P, M>>,
): Promise<Answer<Operation<P, M>>> {
  const request: RequestInit = { method: method.toUpperCase(), signal: signal ?? null }
  if (body !== undefined) {
    request.body = JSON.stringify(body)
    request.headers = { 'Content-Type': 'application/json' }
  }
  let response: Response
  try {
    response = await fetch(filled(route, path ?? {}) + words(query ?? {}), request)
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem('The server does not answer. See whether “semascope serve” still runs, then try again.', 0)
  }
  if (response.ok) return (await response.json()) as Answer<Operation<P, M>>
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
