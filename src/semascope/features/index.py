"""Reading a feature index: what a feature is, where it fires, and which features answer to a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from semascope.errors import DamagedError, InputError
from semascope.features import format
from semascope.features.activity import FeatureActivity
from semascope.features.documents import DocumentText, passage, windows_around
from semascope.features.examples import Context, Example, Interval
from semascope.features.rowgroups import RowGroupReader
from semascope.features.selection import Filter, Sort, Summary, existing
from semascope.features.sources import SourceShare, source_shares
from semascope.features.statistics import FeatureStatistics
from semascope.features.together import Companion, companions
from semascope.features.tokens import TokenSearch
from semascope.features.words import WordSearch

SearchIn = Literal["everything", "tokens", "texts"]

_WEIGHT_OF_NAME = 1_000  # more than any number of words that fit into a search

_PEAK_TOKENS = """
SELECT feature, list(token ORDER BY value DESC, "window") FROM (
    SELECT feature, token, value, "window" FROM {file} WHERE peak
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY value DESC, "window") <= $n
) GROUP BY feature
"""


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
        self._connection = duckdb.connect()

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
        tokens = format.sql_source(self.folder / format.TOKENS_FILE)
        return dict(self._query(f"SELECT token, text FROM {tokens} WHERE token IS NOT NULL"))

    def statistics(self, feature: int) -> FeatureStatistics:
        """What is known of one feature."""
        return FeatureStatistics.from_row(self._row(feature), self.token_texts)

    @cached_property
    def summary(self) -> Summary:
        """What every feature is sorted and filtered by."""
        columns = self._rows.columns(["n_active", "maximum", "mean"])
        return Summary(columns["n_active"], columns["maximum"], columns["mean"], self.n_tokens)

    def densities(self) -> NDArray[np.float64]:
        """The share of tokens on which each feature fires, [F]; 0 for a dead one."""
        return self.summary.density_F

    def maxima(self) -> NDArray[np.float64]:
        """The largest activation of each feature, [F]; 0 for a dead one."""
        return self.summary.maximum_F.astype(np.float64)

    def top_tokens(self, features_n: NDArray[np.int32]) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens that each of many features fires on, and their shares of its activation, from one reading."""
        file = format.sql_source(self.folder / format.STATISTICS_FILE)
        tokens, shares = zip(*self._query(f"SELECT top_tokens, top_shares FROM {file} ORDER BY feature"), strict=True)
        return [tokens[feature] for feature in features_n], [shares[feature] for feature in features_n]

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
        """Features in order: ``limit`` of them from the ``offset``-th on.

        ``search``: only features that fire on or promote a token in which each word stands (one of one or two letters
        as a word of its own), and features of which one of the strongest contexts contains all words (the last of
        which may have just begun), in any case of letters.
        ``alive``: only features that fire (True), that never do (False), or all (None). ``sort``: ascending, or
        descending with a minus; when it is None, the best matches of a search come first (by the share of their
        activation on matching tokens and the nearness of the words to their peaks, then by the logits of promoted
        tokens), and otherwise the lowest ids.
        """
        _check_not_negative("limit", limit)
        _check_not_negative("offset", offset)
        ids = self.select(Filter(alive=alive), sort=sort, search=search, n_in_order=offset + limit)
        return self.of(ids[offset : offset + limit].tolist())

    def select(
        self, filter: Filter = Filter(), *, sort: Sort | NDArray[np.intp] | None = None, search: str | None = None,
        search_in: SearchIn = "everything", named: Sequence[int] = (), n_in_order: int | None = None,
    ) -> NDArray[np.intp]:  # fmt: skip
        """The ids of all features that pass a filter, in order; ``sort`` and ``search`` as in ``list``.

        ``sort`` may itself be an order: the ids of all features.
        ``search_in``: the tokens alone, the texts alone, or both. ``named``: features that answer to the search by
        what people call them, the best first; they are found too, and come first. ``n_in_order``: how many are sure to
        be in their places, all when it is None; the first of a million are found faster than all are sorted.
        """
        if not search or not search.strip():
            return self.summary.selected(filter, sort)
        weights_F = self._weights(search, search_in)
        called = existing(named, self.n_features)
        weights_F[called] = _WEIGHT_OF_NAME + np.arange(len(called), 0, -1)
        return self.summary.selected(filter, sort, weights_F, n_in_order)

    def of(self, features: Sequence[int]) -> list[FeatureStatistics]:
        """What is known of some features, in the order asked for."""
        for feature in features:
            self._check_feature(feature)
        rows = self._rows.rows(sorted(features))
        return [FeatureStatistics.from_row(rows[feature], self.token_texts) for feature in features]

    def together(self, feature: int) -> list[Companion]:
        """The features that fire on the same tokens, the highest correlation first: 20 at most, on 5 tokens or more."""
        self._check_feature(feature)
        return companions(self._together.rows([feature])[feature], self.summary.n_active_F, self.n_tokens)

    def sources(self, feature: int) -> list[SourceShare]:
        """How the feature's activation is distributed over the sources of the corpus, the largest share first."""
        self._check_feature(feature)
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
    def _tokens(self) -> TokenSearch:
        return TokenSearch(self.folder, self.n_features)

    @cached_property
    def _words(self) -> WordSearch:
        return WordSearch(self.folder, self.n_features)

    @cached_property
    def _together(self) -> RowGroupReader:
        return RowGroupReader(self.folder / format.TOGETHER_FILE, "feature")

    @cached_property
    def _windows(self) -> RowGroupReader:
        return RowGroupReader(self.folder / format.WINDOWS_FILE, "window")

    def _row(self, feature: int) -> dict[str, Any]:
        self._check_feature(feature)
        return self._rows.rows([feature])[feature]

    def _activity(self, row: Mapping[str, Any]) -> FeatureActivity:
        file = self.folder / format.part_file(row["part"])
        return FeatureActivity(self._query, self._windows, file, row["feature"], row["maximum"])

    def _check_feature(self, feature: int) -> None:
        if feature not in self:
            raise InputError(
                f"there is no feature {feature}: the index {self.folder} holds features 0 to {self.n_features - 1}"
            )

    def _weights(self, search: str, search_in: SearchIn) -> NDArray[np.float32]:
        """How well each feature answers to a search, [F]; 0 where it does not."""
        match search_in:
            case "tokens":
                return self._tokens.weights(search)
            case "texts":
                return self._words.weights(search)
            case "everything":
                return self._tokens.weights(search) + self._words.weights(search)

    def _query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            with self._connection.cursor() as cursor:
                return cursor.execute(sql, parameters).fetchall()
        except duckdb.Error as error:
            raise DamagedError(f"the feature index {self.folder} cannot be read ({error}): build it again") from error


def _check_not_negative(name: str, number: int) -> None:
    if number < 0:
        raise InputError(f"{name} is {number}: expected 0 or more")
