"""The feature index: every activation of every feature, and what follows from them, in files that any tool reads."""

from semascope.features.build import IndexBuilder
from semascope.features.decoder import nearest
from semascope.features.examples import Context, Example, Interval
from semascope.features.index import FeatureIndex, Page, Selection
from semascope.features.selection import Filter, Sort
from semascope.features.statistics import FeatureStatistics, Neighbour, WeightedToken

__all__ = [
    "Context",
    "Example",
    "FeatureIndex",
    "FeatureStatistics",
    "Filter",
    "IndexBuilder",
    "Interval",
    "Neighbour",
    "Page",
    "Selection",
    "Sort",
    "WeightedToken",
    "nearest",
]
