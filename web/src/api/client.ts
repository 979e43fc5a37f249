/** Every question that a page has for the server. */

import { ask, lines, type Query } from './ask'
import type { AskedText, AskedToken, Context } from './types'

const LENS_FEATURES = 200
const RUN = '/api/runs/{run}'
const FEATURE = '/api/runs/{run}/features/{feature}'

export type Choice = Query<'/api/runs/{run}/features'>
export type Width = 'narrow' | 'medium' | 'wide'

export const runs = (signal?: AbortSignal) => ask('get', '/api/runs', { signal })

export const overview = (run: string, signal?: AbortSignal) => ask('get', RUN, { path: { run }, signal })

export const features = (run: string, query: Choice, signal?: AbortSignal) =>
  ask('get', `${RUN}/features`, { path: { run }, query, signal })

export const detail = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', FEATURE, { path: { run, feature }, signal })

export const contexts = (run: string, feature: number, width: Width, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/contexts`, { path: { run, feature }, query: { width }, signal })

export const intervals = (run: string, feature: number, width: Width, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/intervals`, { path: { run, feature }, query: { width }, signal })

export const together = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/together`, { path: { run, feature }, signal })

export const sources = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/sources`, { path: { run, feature }, signal })

/** The document around a context. */
export function document(run: string, feature: number, context: Context, signal?: AbortSignal) {
  const { document, window, position } = context
  return ask('get', `${RUN}/documents/{document}`, { path: { run, document }, query: { feature, window, position }, signal })
}

/** The feature's activation on a text of one's own. */
export const tryText = (run: string, feature: number, text: string, signal?: AbortSignal) =>
  ask('post', `${FEATURE}/try`, { path: { run, feature }, body: { text }, signal })

/** An empty text removes what was written. */
export function write(kind: 'label' | 'note', run: string, feature: number, text: string) {
  const path = { run, feature }
  return text.trim() ? ask('put', `${FEATURE}/${kind}`, { path, body: { text } }) : ask('delete', `${FEATURE}/${kind}`, { path })
}

export type Order = 'activation' | 'rarity'

/** For every token of a text its strongest features, and for the whole text those that matter. */
export const lens = (run: string, text: string, order: Order, signal?: AbortSignal) =>
  ask('post', `${RUN}/lens`, { path: { run }, body: { text, order, features: LENS_FEATURES, features_per_token: 8 }, signal })

/** Every point of the map; the browser asks whether it is still the same, and fetches it once. */
export const map = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/map`, { path: { run }, signal })

export const mapNames = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/map/names`, { path: { run }, signal })

export const mapFound = (run: string, search: string, signal?: AbortSignal) =>
  ask('get', `${RUN}/map/found`, { path: { run }, query: { search }, signal })

export const star = (run: string, feature: number, starred: boolean) =>
  ask(starred ? 'put' : 'delete', `${FEATURE}/star`, { path: { run, feature } })

export const lists = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/lists`, { path: { run }, signal })

export const beginList = (run: string, name: string) => ask('post', `${RUN}/lists`, { path: { run }, body: { name } })

export const putOnList = (run: string, name: string, feature: number, listed: boolean) =>
  ask(listed ? 'put' : 'delete', `${RUN}/lists/{name}/features/{feature}`, { path: { run, name, feature } })

/** How the model can be steered, and what is known already. */
export const steering = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/steering`, { path: { run }, signal })

/** How far a feature can be turned up; null where that was not measured. */
export const calibration = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/calibration`, { path: { run, feature }, signal })

/** The default and the steered text, as they are written. */
export const steer = (run: string, body: AskedText, signal: AbortSignal) =>
  lines('post', `${RUN}/steer`, { path: { run }, body, signal })

/** Which features make the model say a token, as it is found out. */
export const attribute = (run: string, body: AskedToken, signal: AbortSignal) =>
  lines('post', `${RUN}/attribute`, { path: { run }, body, signal })

/** Which concepts have a feature, and how to score those of other suites. */
export const concepts = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/concepts`, { path: { run }, signal })

/** Which names have a feature, in all served runs. */
export const completeness = (signal?: AbortSignal) => ask('get', '/api/completeness', { signal })
