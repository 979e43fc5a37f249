/** The records of the API by their names; what they hold is written in the server. */

import type { components, paths } from './schema'

type Records = components['schemas']

export type RunSummary = Records['RunSummary']
export type RunOverview = Records['RunOverview']
export type Summary = Records['FeatureSummary']
export type Detail = Records['FeatureDetail']
export type Written = Records['WrittenText']
export type Annotations = Records['Annotations']
export type KeptList = Records['KeptList']
export type Token = Records['ShownToken']
export type Context = Records['ShownContext']
export type Interval = Records['ShownInterval']
export type ConceptSuite = Records['ConceptSuite']
export type Lens = Records['Lens']
export type LensQuestion = Records['LensQuestion']
export type LensFeature = Records['LensFeature']
export type AskedText = Records['AskedText']
export type Calibration = Records['FeatureCalibration']
export type MapData = Records['PointsOfMap']
export type MapNames = Records['NamesOnMap']
export type PointAround = Records['PointAround']
export type Region = Records['MapRegion']
export type ComparedRuns = Records['ComparedRuns']
export type ComparedSide = Records['ComparedSide']
export type ComparedFeature = Records['ComparedFeature']
export type ShownCounterpart = Records['ShownCounterpart']
export type ScoredSuite = Records['ScoredSuite']
export type ScoredConcept = Records['ScoredConcept']
export type RunCompleteness = Records['RunCompleteness']
export type AskedToken = Records['AskedToken']

type AttributionEvent = paths['/api/runs/{run}/attribute']['post']['responses'][200]['content']['application/x-ndjson']
export type Attributed = NonNullable<AttributionEvent['attributed']>
export type Agreement = NonNullable<AttributionEvent['agreement']>
