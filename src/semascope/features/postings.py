"""Rows of terms, such as tokens and words: those of one term lie together, in a file that is mapped into memory.

A search asks for all terms of which a text is a part. Where these have very many rows, the part is a term too, whose
rows are those of its terms taken together, one a feature: so no search reads many more rows than there are features.

T terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
from numpy.typing import DTypeLike, NDArray

from semascope.errors import DamagedError
from semascope.features import format

_ROWS_AT_ONCE = 1 << 20


class Postings:
    """Reads the rows of terms, by the places of the terms. Raises DamagedError when there are too few rows."""

    def __init__(self, path: Path, row: DTypeLike, n_rows_T: NDArray[np.int64]) -> None:
        """``n_rows_T``: the number of rows of each term, [T]."""
        self._starts = np.concatenate([[0], np.cumsum(n_rows_T)])
        try:
            # An empty file cannot be mapped.
            self._rows = np.memmap(path, row, mode="r") if path.stat().st_size else np.empty(0, row)
        except (OSError, ValueError) as error:
            raise DamagedError(f"{path} is damaged ({error}): build the index again") from error
        if len(self._rows) < self._starts[-1]:
            raise DamagedError(
                f"{path} has {len(self._rows):,} rows where {self._starts[-1]:,} were written: build the index again"
            )

    def of(self, first: int, last: int) -> NDArray[Any]:
        """The rows of the terms from ``first`` up to ``last``."""
        return self._rows[self._starts[first] : self._starts[last]]

    def of_all(self, places: NDArray[np.intp]) -> NDArray[Any]:
        """The rows of some terms, one after another."""
        starts = self._starts[places]
        lengths = self._starts[places + 1] - starts
        before = np.cumsum(lengths) - lengths
        return self._rows[np.repeat(starts - before, lengths) + np.arange(lengths.sum())]


class PostingsWriter:
    """Writes the rows of terms to a new file, one term after another."""

    def __init__(self, path: Path, row: DTypeLike) -> None:
        self._row = np.dtype(row)
        self._file = path.open("xb")

    def __enter__(self) -> PostingsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as named columns."""
        rows: NDArray[Any] = np.empty(len(next(iter(columns.values()))), self._row)
        for name, values in columns.items():
            rows[name] = values
        self._file.write(rows.data)

    def write_query(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Append what a query gives."""
        for batch in connection.sql(sql).to_arrow_reader(_ROWS_AT_ONCE):
            self.write({name: batch.column(name).to_numpy() for name in batch.schema.names})
        self._file.flush()


def write_postings(
    path: Path,
    row: DTypeLike,
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    terms: Sequence[str],
    n_rows: Sequence[int],
    *,
    beginnings: bool,
    asked: Callable[[str], bool],
    together: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]],
) -> dict[str, int]:
    """Write the rows of ``terms``, which ``sql`` gives in their order, and then those of their frequent parts.

    ``beginnings`` as for ``frequent_parts``; ``asked``: whether a search may ask for a part; ``together``: the rows of
    several terms as columns of one row a feature. Returns the number of rows of each part, in their order.
    """
    of_parts: dict[str, int] = {}
    with PostingsWriter(path, row) as writer:
        writer.write_query(connection, sql)
        written = Postings(path, row, np.array(n_rows, np.int64))
        for part, places in frequent_parts(terms, n_rows, beginnings=beginnings).items():
            if asked(part):
                columns = together(written.of_all(places))
                writer.write(columns)
                of_parts[part] = len(columns["feature"])
    return of_parts


def frequent_parts(terms: Sequence[str], n_rows: Iterable[int], *, beginnings: bool) -> dict[str, NDArray[np.intp]]:
    """The places of the terms of each part whose terms have more rows than a search should read.

    ``beginnings``: parts that terms begin with, not parts anywhere. No part has white space in it, as no word that is
    searched for has any. A part has no more rows than its own beginning, so parts grow letter by letter from those
    that have many.
    """
    rows_of = list(n_rows)
    found: dict[str, NDArray[np.intp]] = {}
    begun, length = {""}, 0
    while begun:
        length += 1
        total: Counter[str] = Counter()
        places: dict[str, list[int]] = {}
        for place, term in enumerate(terms):
            ends = range(length, (length if beginnings else len(term)) + 1)
            for part in {term[end - length : end] for end in ends if term[end - length : end - 1] in begun}:
                if len(part) == length and not part[-1].isspace():
                    total[part] += rows_of[place]
                    places.setdefault(part, []).append(place)
        begun = {part for part, n in total.items() if n > format.MOST_ROWS_READ}
        found |= {part: np.array(places[part]) for part in sorted(begun)}
    return found
