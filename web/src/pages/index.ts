/** The pages of a run: what is listed here is what can be gone to. */

import type { Component } from 'svelte'
import type { RunSummary } from '../api/types'
import { copiedPages } from '../lib/site'
import Attribution from './Attribution.svelte'
import Compare from './Compare.svelte'
import Completeness from './Completeness.svelte'
import Concepts from './Concepts.svelte'
import Feature from './Feature.svelte'
import Features from './Features.svelte'
import Lens from './Lens.svelte'
import FeatureMap from './Map.svelte'
import Overview from './Overview.svelte'
import Steer from './Steer.svelte'

export interface PageProps {
  run: RunSummary
  runs: RunSummary[]
}

export interface Page {
  path: string
  title: string
  /** Where in the navigation it belongs to, if it is not there itself. */
  within?: string
  /** The second key of its shortcut, after g. */
  key?: string
  component: Component<PageProps>
}

const all: Page[] = [
  { path: 'overview', title: 'Overview', key: 'o', component: Overview },
  { path: 'features', title: 'Features', key: 'f', component: Features },
  { path: 'lens', title: 'Prompt lens', key: 'l', component: Lens },
  { path: 'map', title: 'Map', key: 'm', component: FeatureMap },
  { path: 'compare', title: 'Compare', key: 'c', component: Compare },
  { path: 'steer', title: 'Steer', key: 's', component: Steer },
  { path: 'attribution', title: 'Attribution', key: 'a', component: Attribution },
  { path: 'concepts', title: 'Concepts', key: 'k', component: Concepts },
  { path: 'completeness', title: 'Completeness', within: 'concepts', key: 'p', component: Completeness },
  { path: 'feature', title: 'Feature', within: 'features', component: Feature },
]

export const pages = all.filter((one) => copiedPages?.includes(one.path) ?? true)
