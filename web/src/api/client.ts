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

/** Its few strongest contexts, a line each. */
export const peaks = (run: string, feature: number, n: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/contexts`, { path: { run, feature }, query: { width: 'narrow', n }, signal })

export const intervals = (run: string, feature: number, width: Width, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/intervals`, { path: { run, feature }, query: { width }, signal })

export const together = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/together`, { path: { run, feature }, signal })

export const sources = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/sources`, { path: { run, feature }, signal })

/** The features around one, as points. */
export const around = (run: string, feature: number, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/around`, { path: { run, feature }, signal })

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

export type Order = 'activation' | 'rarity' | 'attribution'

/**
 * For every token of a text its strongest features, and for the whole text those that matter; for the order by
 * attribution perhaps to which next token, and rather than which.
 */
export function lens(run: string, text: string, order: Order, target: string, baseline: string, signal?: AbortSignal) {
  const next = order === 'attribution' && target ? { target, baseline: baseline || null } : {}
  return ask('post', `${RUN}/lens`, {
    path: { run }, body: { text, order, ...next, features: LENS_FEATURES, features_per_token: 8 }, signal,
  })
}

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

/** The served runs that this one can be compared with. */
export const comparable = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/comparable`, { path: { run }, signal })

const COMPARED = '/api/runs/{run}/compared/{other}'

export type Threshold = number | null

export const compared = (run: string, other: string, threshold: Threshold, signal?: AbortSignal) =>
  ask('get', COMPARED, { path: { run, other }, query: { threshold }, signal })

export type ComparedChoice = Query<'/api/runs/{run}/compared/{other}/features'>

/** Features of the first run that split, are alone, or are shared. */
export const comparedFeatures = (run: string, other: string, query: ComparedChoice, signal?: AbortSignal) =>
  ask('get', `${COMPARED}/features`, { path: { run, other }, query, signal })

/** The counterparts and children in another run of a feature. */
export const family = (run: string, feature: number, other: string, threshold: Threshold, signal?: AbortSignal) =>
  ask('get', `${FEATURE}/counterparts/{other}`, { path: { run, feature, other }, query: { threshold }, signal })
/** Which features make the model say a token, as it is found out. */
export const attribute = (run: string, body: AskedToken, signal: AbortSignal) =>
  lines('post', `${RUN}/attribute`, { path: { run }, body, signal })

/** Which concepts have a feature, and how to score those of other suites. */
export const concepts = (run: string, signal?: AbortSignal) => ask('get', `${RUN}/concepts`, { path: { run }, signal })

/** Which names have a feature, in all served runs. */
export const completeness = (signal?: AbortSignal) => ask('get', '/api/completeness', { signal })
