"""The activations of one feature: its strongest windows, a sample by interval, and its values around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from semascope.features.documents import Passage
from semascope.features.examples import Context, Example, Interval, Peak, example, fold
from semascope.features.format import sql_source
from semascope.features.rowgroups import RowGroupReader

# Windows looked at for near-duplicates: at least these, and at most those before fewer examples will do.
_FEWEST_EXAMINED = 100
_MOST_EXAMINED = 1_000

_PEAKS = """
SELECT "window", position, value FROM {file} WHERE feature = $feature AND peak
ORDER BY value DESC, "window" LIMIT $limit
"""

# A multiplicative hash orders the windows, so that the sample is the same every time and from all over the corpus.
_SAMPLE = """
WITH placed AS (
    SELECT "window", position, value, least(floor(value::DOUBLE * $n / $maximum), $n - 1)::INTEGER AS place
    FROM {file} WHERE feature = $feature AND peak
), ranked AS (
    SELECT *, count(*) OVER (PARTITION BY place) AS n_windows,
           row_number() OVER (PARTITION BY place ORDER BY "window" * 2654435761 % 4294967296, "window") AS rank
    FROM placed
)
SELECT place, n_windows, "window", position, value FROM ranked WHERE rank <= $per_interval
ORDER BY place, value DESC, "window"
"""

_VALUES = """
WITH shown AS (SELECT unnest($windows) AS "window", unnest($starts) AS start, unnest($stops) AS stop)
SELECT "window", position, value
FROM (SELECT "window", position, value FROM {file} WHERE feature = $feature) JOIN shown USING ("window")
WHERE position >= start AND position < stop
"""


_Shown = TypeVar("_Shown", Example, Passage)


@dataclass(frozen=True, slots=True)
class FeatureActivity:
    """Where one feature was active; ``query`` runs SQL with named parameters and returns the rows."""

    query: Callable[[str, Mapping[str, Any]], list[tuple[Any, ...]]]
    windows: RowGroupReader
    file: Path
    feature: int
    maximum: float

    def top(self, n: int, context: Context) -> list[Example]:
        """The windows of the ``n`` highest peaks with near-duplicates folded; the examples have no values yet."""
        if not n:
            return []
        at_once = max(_FEWEST_EXAMINED, 2 * n)
        peaks = [Peak(*row) for row in self._rows(_PEAKS, limit=max(_MOST_EXAMINED, at_once))]
        found: list[Example] = []
        for start in range(0, len(peaks), at_once):
            found = fold([*found, *self._shown(peaks[start : start + at_once], context)])
            if len(found) >= n:
                break
        return found[:n]

    def intervals(self, n_intervals: int, per_interval: int, context: Context) -> list[Interval]:
        """``per_interval`` windows from each of ``n_intervals`` intervals; the examples have no values yet."""
        if not n_intervals or not self.maximum:
            return []
        rows = self._rows(_SAMPLE, n=n_intervals, maximum=self.maximum, per_interval=max(per_interval, 1))
        examples = self._shown([Peak(*row[2:]) for row in rows], context)
        width = self.maximum / n_intervals
        return [
            Interval(
                low=place * width,
                high=(place + 1) * width,
                n_windows=next((row[1] for row in rows if row[0] == place), 0),
                examples=tuple(one for row, one in zip(rows, examples, strict=True) if row[0] == place),
            )
            for place in range(n_intervals)
        ]

    def with_values(self, examples: Sequence[_Shown]) -> list[_Shown]:
        """The examples, or passages of a document, with the activation at every token that they show."""
        if not examples:
            return []
        spans = {(one.window, one.start, one.start + len(one.tokens)) for one in examples}
        windows, starts, stops = zip(*spans, strict=True)
        rows = self._rows(_VALUES, windows=list(windows), starts=list(starts), stops=list(stops))
        values = {(window, position): value for window, position, value in rows}
        return [
            replace(one, values=tuple(values.get((one.window, one.start + i), 0.0) for i in range(len(one.tokens))))
            for one in examples
        ]

    def _rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self.query(sql.format(file=sql_source(self.file)), {"feature": self.feature, **parameters})

    def _shown(self, peaks: Sequence[Peak], context: Context) -> list[Example]:
        windows = self.windows.rows(sorted({peak.window for peak in peaks}))
        return [example(peak, windows[peak.window], context) for peak in peaks]
