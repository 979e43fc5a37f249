"""The feature index: every activation of every feature, and what follows from them, in files that any tool reads."""

from semascope.features.around import Around, around_by_cosine, around_on_map
from semascope.features.build import IndexBuilder
from semascope.features.comparison import (
    Comparison,
    Family,
    Indexed,
    find_comparison,
    make_comparison,
)
from semascope.features.counterparts import Counterpart, Counterparts
from semascope.features.decoder import nearest, unit_rows
from semascope.features.documents import DocumentText, Passage
from semascope.features.examples import Context, Example, Interval
from semascope.features.index import FeatureIndex, Page, SearchIn
from semascope.features.map import FeatureMap, make_map
from semascope.features.regions import Region
from semascope.features.selection import Filter, Sort
from semascope.features.sources import SourceShare
from semascope.features.statistics import FeatureStatistics, Neighbour, WeightedToken
from semascope.features.together import Companion

__all__ = [
    "Around",
    "Companion",
    "Comparison",
    "Context",
    "Counterpart",
    "Counterparts",
    "DocumentText",
    "Example",
    "Family",
    "FeatureIndex",
    "FeatureMap",
    "FeatureStatistics",
    "Filter",
    "IndexBuilder",
    "Indexed",
    "Interval",
    "Neighbour",
    "Page",
    "Passage",
    "Region",
    "SearchIn",
    "Sort",
    "SourceShare",
    "WeightedToken",
    "around_by_cosine",
    "around_on_map",
    "find_comparison",
    "make_comparison",
    "make_map",
    "nearest",
    "unit_rows",
]
