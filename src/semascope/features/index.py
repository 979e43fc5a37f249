"""Reading a feature index: what a feature is, where it fires, and which features answer to a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from semascope.errors import DamagedError, InputError
from semascope.features import format
from semascope.features.activity import FeatureActivity
from semascope.features.documents import DocumentText, passage, windows_around
from semascope.features.examples import Context, Example, Interval
from semascope.features.rowgroups import RowGroupReader
from semascope.features.selection import Filter, Sort, Summary
from semascope.features.sources import SourceShare, source_shares
from semascope.features.statistics import FeatureStatistics

_SEARCH = """
WITH matching AS (
    SELECT word, token FROM tokens JOIN (SELECT unnest($words) AS word) AS words ON contains(lower(text), word)
)
SELECT feature FROM by_token JOIN matching USING (token)
GROUP BY feature HAVING count(DISTINCT word) = len($words)
ORDER BY sum(share) DESC, max(logit) DESC, feature
"""

_PEAK_TOKENS = """
SELECT feature, list(token ORDER BY value DESC, "window") FROM (
    SELECT feature, token, value, "window" FROM {file} WHERE peak
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY value DESC, "window") <= $n
) GROUP BY feature
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the features that a question finds, in order, and how many it finds in all."""

    total: int
    features: tuple[FeatureStatistics, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All that a page about one feature shows."""

    statistics: FeatureStatistics
    top: tuple[Example, ...]
    intervals: tuple[Interval, ...]


class FeatureIndex:
    """A feature index opened for reading, from as many threads as wanted.

    ``provenance`` is what the builder was given. Every method that takes a feature raises InputError when there is
    no such feature; all raise DamagedError when a file turns out to be damaged.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.provenance: Mapping[str, Any] = description["provenance"]
        self.n_features: int = description["n_features"]
        self.n_alive: int = description["n_alive"]
        self.n_tokens: int = description["n_tokens"]
        self.n_windows: int = description["n_windows"]
        self.n_activations: int = description["n_activations"]
        self._rows = RowGroupReader(folder / format.STATISTICS_FILE, "feature")
        self._summary = Summary(folder / format.STATISTICS_FILE, self.n_tokens)
        self._connection = duckdb.connect()
        by_token, tokens = (format.sql_source(folder / name) for name in (format.BY_TOKEN_FILE, format.TOKENS_FILE))
        self._query(f"CREATE TABLE tokens AS SELECT * FROM {tokens}")
        self._query(f"CREATE VIEW by_token AS SELECT * FROM {by_token}")

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """Whether a whole index was written there: its description comes last."""
        return (folder / format.INDEX_FILE).exists()

    @classmethod
    def open(cls, folder: Path) -> FeatureIndex:
        """Open the index in ``folder``.

        Raises DamagedError when it is missing, incomplete or truncated, FormatError when it is of another format.
        """
        return cls(folder, format.read_index_file(folder))

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def __enter__(self) -> FeatureIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, feature: int) -> bool:
        return 0 <= feature < self.n_features

    @cached_property
    def token_texts(self) -> Mapping[int, str]:
        """The text of every token that appears in the index, by token id."""
        return dict(self._query("SELECT token, text FROM tokens"))

    def statistics(self, feature: int) -> FeatureStatistics:
        """What is known of one feature."""
        return FeatureStatistics.from_row(self._row(feature), self.token_texts)

    def summaries(self, features: Sequence[int]) -> list[FeatureStatistics]:
        """What is known of several features, in the order given, from one reading."""
        for feature in features:
            self._check(feature)
        rows = self._rows.rows(sorted(set(features)))
        return [FeatureStatistics.from_row(rows[feature], self.token_texts) for feature in features]

    def densities(self) -> NDArray[np.float64]:
        """The share of tokens on which each feature fires, [F]; 0 for a dead one."""
        return self._summary.density_F.copy()

    def maxima(self) -> NDArray[np.float64]:
        """The largest activation of each feature, [F]; 0 for a dead one."""
        return self._summary.maximum_F.copy()

    def peak_tokens(self, n: int) -> dict[int, list[int]]:
        """The tokens at the ``n`` highest peaks of every feature that fires, one peak a window."""
        found: dict[int, list[int]] = {}
        for file in sorted((self.folder / format.part_file(0)).parent.glob("*.parquet")):
            for feature, tokens in self._query(_PEAK_TOKENS.format(file=format.sql_source(file)), {"n": n}):
                found[feature] = tokens
        return found

    def top(self, feature: int, n: int = 20, *, context: Context = Context()) -> list[Example]:
        """The ``n`` windows in which the feature is strongest, one example each, near-duplicates folded.

        The strongest 100 windows are examined (2 n if that is more), and up to 1,000 when they are alike; fewer
        examples come back of a feature whose windows are all alike.
        """
        return list(self.page(feature, n_top=n, n_intervals=0, context=context).top)

    def intervals(
        self, feature: int, n_intervals: int = 10, per_interval: int = 5, *, context: Context = Context()
    ) -> list[Interval]:
        """Examples at equal intervals of activation from 0 to the maximum, the weakest interval first.

        A window belongs to the interval of its peak. The sample is the same every time; a dead feature has no
        intervals.
        """
        page = self.page(feature, n_top=0, n_intervals=n_intervals, per_interval=per_interval, context=context)
        return list(page.intervals)

    def page(
        self,
        feature: int,
        *,
        n_top: int = 20,
        n_intervals: int = 10,
        per_interval: int = 5,
        context: Context = Context(),
    ) -> Page:
        """Statistics, top examples and examples by interval of one feature, as ``top`` and ``intervals`` give them."""
        for name, number in (("n_top", n_top), ("n_intervals", n_intervals), ("per_interval", per_interval)):
            _check_not_negative(name, number)
        row = self._row(feature)
        activity = self._activity(row)
        top = activity.top(n_top, context)
        intervals = activity.intervals(n_intervals, per_interval, context)
        sampled = [one for interval in intervals for one in interval.examples]
        shown = iter(activity.with_values([*top, *sampled]))
        return Page(
            FeatureStatistics.from_row(row, self.token_texts),
            tuple(islice(shown, len(top))),
            tuple(replace(one, examples=tuple(islice(shown, len(one.examples)))) for one in intervals),
        )

    def list(
        self,
        *,
        sort: Sort | None = None,
        search: str | None = None,
        alive: bool | None = True,
        limit: int = 50,
        offset: int = 0,
    ) -> list[FeatureStatistics]:
        """The features that ``select`` finds, without their number."""
        found = self.select(sort=sort, search=search, where=Filter(alive), limit=limit, offset=offset)
        return [*found.features]

    def select(
        self,
        *,
        sort: Sort | None = None,
        search: str | None = None,
        where: Filter = Filter(),
        also: Sequence[int] = (),
        limit: int = 50,
        offset: int = 0,
    ) -> Selection:
        """Features in order: ``limit`` of them from the ``offset``-th on, and how many there are in all.

        ``search``: only features that fire on or promote a token in which each word occurs, in any case of letters,
        and the features ``also``, such as those whose labels match. ``where``: what they must be besides. ``sort``:
        ascending, or descending with a minus; when it is None, the features ``also`` and then the best matches of a
        search come first (by the share of their activation on matching tokens, then by the logit of promoted ones),
        and otherwise the lowest ids.
        """
        _check_not_negative("limit", limit)
        _check_not_negative("offset", offset)
        passes_F = self._summary.passing(where)
        best: dict[int, None] = {}
        if words := sorted(set((search or "").lower().split())):
            best = dict.fromkeys([*also, *(feature for (feature,) in self._query(_SEARCH, {"words": words}))])
            passes_F &= self._summary.members(best)
        found: Sequence[int] | NDArray[np.int64]
        if words and sort is None:
            found = [feature for feature in best if feature in self and passes_F[feature]]
        else:
            found = self._summary.in_order(passes_F, sort or "id")
        return Selection(len(found), tuple(self.summaries([int(one) for one in found[offset : offset + limit]])))

    def sources(self, feature: int) -> list[SourceShare]:
        """How the feature's activation is distributed over the sources of the corpus, the largest share first."""
        self._check(feature)
        return source_shares(self._by_source.rows([feature])[feature], self._sources)

    def document(
        self, document: int, *, feature: int | None = None, around: int | None = None, most_windows: int = 16
    ) -> DocumentText:
        """The text of a document by the windows that it lies in, with the activation of a feature at every token.

        ``around``: the window to show the neighbourhood of, the document's first when it is None; at most
        ``most_windows`` windows are shown. Raises InputError when the index has no such document or the document
        does not lie in that window.
        """
        row = self._documents.rows([document]).get(document)
        if row is None:
            raise InputError(f"the index {self.folder} has no document {document}: take one that an example names")
        shown = windows_around(row, around, most_windows)
        passages = [found for one in self._windows.rows(shown).values() if (found := passage(document, one))]
        if feature is not None:
            passages = self._activity(self._row(feature)).with_values(passages)
        return DocumentText(
            document,
            source=self._sources[row["source"]][0],
            n_tokens=row["n_tokens"],
            begins=shown.start == row["first_window"],
            ends=shown.stop == row["last_window"] + 1,
            passages=tuple(passages),
        )

    @cached_property
    def _sources(self) -> list[tuple[str, int]]:
        return [
            (name, n_tokens)
            for name, n_tokens in self._query(f"FROM {format.sql_source(self.folder / format.SOURCES_FILE)}")
        ]

    @cached_property
    def _by_source(self) -> RowGroupReader:
        return RowGroupReader(self.folder / format.BY_SOURCE_FILE, "feature")

    @cached_property
    def _documents(self) -> RowGroupReader:
        return RowGroupReader(self.folder / format.DOCUMENTS_FILE, "document")

    @cached_property
    def _windows(self) -> RowGroupReader:
        return RowGroupReader(self.folder / format.WINDOWS_FILE, "window")

    def _row(self, feature: int) -> dict[str, Any]:
        self._check(feature)
        return self._rows.rows([feature])[feature]

    def _activity(self, row: Mapping[str, Any]) -> FeatureActivity:
        file = self.folder / format.part_file(row["part"])
        return FeatureActivity(self._query, self._windows, file, row["feature"], row["maximum"])

    def _check(self, feature: int) -> None:
        if feature not in self:
            raise InputError(
                f"there is no feature {feature}: the index {self.folder} holds features 0 to {self.n_features - 1}"
            )

    def _query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            with self._connection.cursor() as cursor:
                return cursor.execute(sql, parameters).fetchall()
        except duckdb.Error as error:
            raise DamagedError(f"the feature index {self.folder} cannot be read ({error}): build it again") from error


def _check_not_negative(name: str, number: int) -> None:
    if number < 0:
        raise InputError(f"{name} is {number}: expected 0 or more")
