/** What the points of a map are coloured by. */

import type { MapData, MapNames } from '../api/types'

export const COLOURS = [['density', 'Density'], ['label', 'Labels'], ['concept', 'Concepts']] as const
export type ColourBy = (typeof COLOURS)[number][0]

interface Shade {
  says: string
  colour: string
}

/** Colours of a kind, what each stands for, and which of them each point has. */
export interface Shading {
  legend: Shade[]
  of: (point: number) => number
}

const PLAIN = 'var(--bar)'
const NAMED = 'var(--link)'
const DECADES: Shade[] = [
  { says: 'below 0.01 %', colour: PLAIN },
  { says: '0.01 % to 0.1 %', colour: `color-mix(in oklab, ${NAMED} 45%, ${PLAIN})` },
  { says: '0.1 % to 1 %', colour: NAMED },
  { says: '1 % to 10 %', colour: `color-mix(in oklab, var(--ink) 55%, ${NAMED})` },
  { says: 'above 10 %', colour: 'var(--ink)' },
]

export function shading(by: ColourBy, data: MapData, names: MapNames | undefined): Shading {
  if (by === 'density') {
    const last = DECADES.length - 1
    return {
      legend: DECADES,
      of: (point) => Math.max(0, Math.min(last, Math.floor(Math.log10(data.density[point]!) + 5))),
    }
  }
  const named: Record<number, unknown> = names?.[by === 'label' ? 'labels' : 'concepts'] ?? {}
  return {
    legend: [
      { says: by === 'label' ? 'without a label' : 'tells no concept best', colour: PLAIN },
      { says: by === 'label' ? 'with a label' : 'tells a concept best', colour: NAMED },
    ],
    of: (point) => (data.feature[point]! in named ? 1 : 0),
  }
}
