"""Parquet files with row groups of a size for one lookup: written, read by an ascending key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.errors import DamagedError


class RowGroupWriter:
    """Writes tables to a Parquet file in row groups of ``rows`` rows (the last one smaller)."""

    def __init__(self, path: Path, schema: Any, rows: int) -> None:
        self._rows = rows
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        # LZ4 opens many small row groups several times faster than Zstandard, for about a third more bytes.
        self._writer = pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False)

    def __enter__(self) -> RowGroupWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush(self._n_waiting)
        self._writer.close()

    def write(self, columns: dict[str, Any]) -> None:
        """Append rows, given as named columns that fit the schema."""
        table = pa.table(columns, schema=self._schema)
        self._waiting.append(table)
        self._n_waiting += table.num_rows
        if self._n_waiting >= self._rows:
            self._flush(self._n_waiting // self._rows * self._rows)

    def _flush(self, n_rows: int) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        if n_rows:
            self._writer.write_table(table.slice(0, n_rows), row_group_size=self._rows)
        self._n_waiting = table.num_rows - n_rows
        self._waiting = [table.slice(n_rows)] if self._n_waiting else []


class RowGroupReader:
    """Reads rows of a Parquet file by an ascending integer key, touching only the row groups that hold them.

    Safe to use from several threads. Raises DamagedError when the file cannot be read.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._metadata = _metadata(path)
        column = self._metadata.schema.names.index(key)
        groups = range(self._metadata.num_row_groups)
        self._starts = np.array(
            [self._metadata.row_group(group).column(column).statistics.min for group in groups], np.int64
        )

    def rows(self, keys: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The rows with these keys, by key; a key that the file does not hold is left out."""
        groups = np.unique(np.searchsorted(self._starts, keys, side="right") - 1)
        table = _read_groups(self._path, self._metadata, [int(group) for group in groups if group >= 0])
        held = table.column(self._key).to_numpy()
        return {row[self._key]: row for row in table.take(np.flatnonzero(np.isin(held, keys))).to_pylist()}

    def columns(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Whole columns of numbers, in the order of the keys."""
        table = _read_groups(self._path, self._metadata, range(self._metadata.num_row_groups), names)
        return {name: table.column(name).to_numpy() for name in names}


def read_table(path: Path) -> Any:
    """A whole Parquet file. Raises DamagedError when it cannot be read."""
    metadata = _metadata(path)
    return _read_groups(path, metadata, range(metadata.num_row_groups)).combine_chunks()


def _metadata(path: Path) -> Any:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error}): build the index again") from error


def _read_groups(path: Path, metadata: Any, groups: Sequence[int], names: Sequence[str] | None = None) -> Any:
    try:
        # A reader of its own for each call, since Arrow's are not safe to share; the metadata is not read again.
        with pq.ParquetFile(path, metadata=metadata, memory_map=True) as file:
            return file.read_row_groups([*groups], names, use_threads=len(groups) > 1)
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error}): build the index again") from error
