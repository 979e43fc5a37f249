"""Searching the texts that fire a feature: which words stand around its strongest activations.

    words.parquet        every word, sorted, and its rows in by_word.bin; then frequent beginnings of words
    by_word.bin          one row for each feature of each word: in which of the feature's contexts the word stands, and
                         how near to the peaks

The contexts are the windows of the highest peaks, eight at most. Words are compared without regard to case, and a
character of a script that is written without spaces is a word. The words are held in memory; a search reads the rows
of its words, 6 bytes for each feature that has one of them, which lie together for all words of one beginning.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.features import format
from semascope.features.building import IndexedText, PartOfActivations
from semascope.features.postings import Postings, write_postings
from semascope.features.rowgroups import RowGroupWriter, read_table

CONTEXTS = 8  # as many as there are bits in a row's set of contexts
_BEFORE, _AFTER = 12, 6
_LONGEST_WORD = 40
# Shorter beginnings of words would match a tenth of the whole file; they are looked up as whole words.
_SHORTEST_PREFIX = 3
_ROWS_AT_ONCE = 1 << 18

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_NO_SPACES}]|[^\\W_{_NO_SPACES}]+")
_SHORT_WORD = re.compile(f"[^\\W_{_NO_SPACES}]{{1,{_SHORTEST_PREFIX - 1}}}")

_INCOMING_SCHEMA = pa.schema(
    [("word", pa.string()), ("feature", pa.int32()), ("contexts", pa.uint8()), ("weight", pa.uint8())]
)

_ROW = [("feature", "<i4"), ("contexts", "u1"), ("weight", "u1")]


def is_short_word(text: str) -> bool:
    """Whether a text is one word of so few letters that it is looked up as a whole, never as a part of others."""
    return bool(_SHORT_WORD.fullmatch(text.lower()))


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case."""
    return [match.group()[:_LONGEST_WORD] for match in _WORD.finditer(text.lower())]


class WordSearch:
    """Finds features by words of their contexts."""

    def __init__(self, folder: Path, n_features: int) -> None:
        self._n_features = n_features
        table = read_table(folder / format.WORDS_FILE)
        begins = table.column("beginning").to_numpy()
        words = table.column("word").combine_chunks()
        self._words = words[: int(np.count_nonzero(~begins))]
        self._beginnings = {beginning: place for place, beginning in enumerate(words.to_pylist()) if begins[place]}
        self._rows = Postings(folder / format.BY_WORD_FILE, _ROW, table.column("n_rows").to_numpy())

    def weights(self, text: str) -> NDArray[np.float32]:
        """How well each feature matches, [F]: 0 unless one of its contexts contains all words of ``text``.

        The last word may be the beginning of one, as it is while a person types: when nothing follows it and it has
        three letters or more. The weight is that of the word that is furthest from the peaks: 1 when it is at the peak
        of every context, 1/2 beside it, and so on, on the mean over the feature's contexts.
        """
        words = words_of(text)
        growing = words[-1:] if words and _is_growing(words[-1], text) else []
        whole = set(words[:-1] if growing else words)
        contexts_F = np.full(self._n_features, 255 if words else 0, np.uint8)
        weights_F = contexts_F.copy()
        for places in [*map(self._places_of, whole), *map(self._places_of_beginning, growing)]:
            rows = self._rows.of(places.start, places.stop)
            held_F, nearness_F = _taken_together(rows, self._n_features, unique=len(places) == 1)
            contexts_F &= held_F
            np.minimum(weights_F, nearness_F, out=weights_F)
        return (weights_F * (contexts_F > 0)).astype(np.float32) / np.float32(255)

    def _places_of(self, first: str, last: str = "") -> range:
        """Where the words from ``first`` to ``last`` are in the list of all words."""
        places = range(len(self._words))
        start, stop = bisect_left(places, first, key=self._word), bisect_right(places, last or first, key=self._word)
        return places[start:stop]

    def _places_of_beginning(self, beginning: str) -> range:
        if (place := self._beginnings.get(beginning)) is not None:
            return range(place, place + 1)
        return self._places_of(beginning, beginning + chr(0x10FFFF))

    def _word(self, place: int) -> str:
        return self._words[place].as_py()


def _taken_together(
    rows: NDArray[Any], n_features: int, *, unique: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The contexts of each feature that hold one of several words, and the nearness of the best, [F] each.

    ``unique``: there is but one row a feature, which takes a third of the time.
    """
    held_F, nearness_F = np.zeros(n_features, np.uint8), np.zeros(n_features, np.uint8)
    features = rows["feature"].astype(np.intp)
    if unique:
        held_F[features], nearness_F[features] = rows["contexts"], rows["weight"]
    else:
        np.bitwise_or.at(held_F, features, rows["contexts"])
        np.maximum.at(nearness_F, features, rows["weight"])
    return held_F, nearness_F


def _is_growing(word: str, text: str) -> bool:
    return text.lower().endswith(word) and len(word) >= _SHORTEST_PREFIX


class WordsWriter:
    """Writes words.parquet and by_word.bin into ``folder``, given the activations part by part."""

    def __init__(
        self,
        folder: Path,
        connection: duckdb.DuckDBPyConnection,
        text: IndexedText,
        token_text: Callable[[int], str],
        decode: Callable[[Sequence[int]], str] | None,
        n_features: int,
    ) -> None:
        """``token_text`` as for ``IndexBuilder.finish``; ``decode``: several tokens together, where bytes are split."""
        self._folder = folder
        self._incoming = folder / "incoming_words.parquet"
        self._connection = connection
        self._text = text
        self._n_features = n_features
        self._token_text = lru_cache(maxsize=None)(token_text)
        self._decode = decode
        self._writer = RowGroupWriter(self._incoming, _INCOMING_SCHEMA, _ROWS_AT_ONCE)

    def __enter__(self) -> WordsWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self._writer.__exit__(kind, *error)
        if kind is None:
            self._write()
            self._incoming.unlink()

    def _write(self) -> None:
        incoming = format.sql_source(self._incoming)
        vocabulary = f"SELECT word, count(*) FROM {incoming} GROUP BY word ORDER BY word"
        counted = dict(self._connection.execute(vocabulary).fetchall())

        def together(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
            contexts_F, weights_F = _taken_together(rows, self._n_features)
            found = np.flatnonzero(contexts_F)
            return {"feature": found, "contexts": contexts_F[found], "weight": weights_F[found]}

        beginnings = write_postings(
            self._folder / format.BY_WORD_FILE,
            _ROW,
            self._connection,
            f"SELECT feature, contexts, weight FROM {incoming} ORDER BY word, feature",
            list(counted),
            list(counted.values()),
            beginnings=True,
            asked=lambda beginning: len(beginning) >= _SHORTEST_PREFIX,
            together=together,
        )
        columns = {
            "word": [*counted, *beginnings],
            "beginning": [False] * len(counted) + [True] * len(beginnings),
            "n_rows": [*counted.values(), *beginnings.values()],
        }
        pq.write_table(pa.table(columns, schema=format.WORDS_SCHEMA), self._folder / format.WORDS_FILE)

    def add(self, part: PartOfActivations) -> None:
        """Take the words around the highest peaks of some features."""
        words: list[str] = []
        features: list[int] = []
        contexts: list[int] = []
        weights: list[int] = []
        for feature, places in _highest_peaks(part):
            found = self._words(places)
            words += found
            features += [feature] * len(found)
            contexts += [held for held, _ in found.values()]
            weights += [max(1, round(255 * nearness / len(places))) for _, nearness in found.values()]
        columns = (words, features, contexts, weights)
        self._writer.write(dict(zip(_INCOMING_SCHEMA.names, columns, strict=True)))

    def _words(self, places: NDArray[np.int64]) -> dict[str, tuple[int, float]]:
        """The set of contexts of each word, a bit for each, and the sum over them of its nearness to the peak."""
        found: dict[str, tuple[int, float]] = {}
        for number, place in enumerate(places.tolist()):
            for word, nearness in self._context(place).items():
                held, total = found.get(word, (0, 0.0))
                found[word] = held | 1 << number, total + nearness
        return found

    def _context(self, place: int) -> dict[str, float]:
        """The words around a place, with 1 for the word at the place, 1/2 for those beside it, and so on."""
        documents = self._text.documents_N
        start = max(0, place - _BEFORE)
        same = (documents[start : place + _AFTER + 1] == documents[place]).tolist()
        peak = place - start
        first, stop = peak, peak + 1
        while first and same[first - 1]:
            first -= 1
        while stop < len(same) and same[stop]:
            stop += 1
        tokens = self._text.tokens_N[start + first : start + stop].tolist()
        ahead, text = self._read(tokens[: peak - first + 1]), self._read(tokens)
        spans = list(_WORD.finditer(text.lower()))
        peak_word = max(0, sum(span.start() < len(ahead) for span in spans) - 1)
        nearness: dict[str, float] = {}
        for number, span in enumerate(spans):
            word = span.group()[:_LONGEST_WORD]
            nearness[word] = max(nearness.get(word, 0.0), 1 / (1 + abs(number - peak_word)))
        return nearness

    def _read(self, tokens: Sequence[int]) -> str:
        text = "".join(map(self._token_text, tokens))
        return self._decode(tokens) if self._decode and "\ufffd" in text else text


def _highest_peaks(part: PartOfActivations) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The places of the highest peaks of each feature that fires."""
    features_P, places_P = part.features_K[part.peaks_K], part.places_K[part.peaks_K]
    features, starts = np.unique(features_P, return_index=True)
    for feature, start, stop in zip(features.tolist(), starts, [*starts[1:], len(features_P)], strict=True):
        yield feature, places_P[start : min(stop, start + CONTEXTS)]
