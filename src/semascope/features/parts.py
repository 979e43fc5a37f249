"""From activations as they arrived to a finished index: sorted in parts, with statistics."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from semascope import progress
from semascope.features import format
from semascope.features.building import IndexedText, PartOfActivations
from semascope.features.decoder import extremes, neighbours, unit_rows
from semascope.features.rowgroups import RowGroupWriter
from semascope.features.statistics import part_statistics

_MEMORY_LIMIT = "1GB"

_SORT_PART = """
COPY (
    SELECT *, row_number() OVER (PARTITION BY feature, "window" ORDER BY value DESC, position) = 1 AS peak
    FROM {incoming} WHERE feature BETWEEN {first} AND {last}
    ORDER BY feature, value DESC, "window", position
) TO {part} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group})
"""


@dataclass(frozen=True, slots=True)
class Decoder:
    """The decoder directions, and how they reach the logits (None outside the residual stream)."""

    W_dec_FD: Tensor
    promoted: Callable[[Tensor], Tensor] | None


class PartWriter(Protocol):
    """Derives something from the activations, part by part, in the order of the features."""

    def add(self, part: PartOfActivations) -> None:
        """Take the next part."""
        ...


def write_parts(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    incoming: Path,
    n_active_F: NDArray[np.int64],
    n_tokens: int,
    decoder: Decoder,
    text: IndexedText,
    writers: Sequence[PartWriter],
) -> set[int]:
    """Sort the activations of ``incoming`` into parts and write statistics.parquet.

    Every part is then given to the ``writers``. Returns the tokens that the decoder promotes or suppresses. Raises
    NumericalError when a decoder weight is not finite.
    """
    unit_FD = unit_rows(decoder.W_dec_FD)
    statistics = folder / format.STATISTICS_FILE
    (folder / format.part_file(0)).parent.mkdir()
    named: set[int] = set()
    with (
        RowGroupWriter(statistics, format.STATISTICS_SCHEMA, format.FEATURES_PER_ROW_GROUP) as writer,
        progress.task("Describe features", total=len(n_active_F), unit="features") as task,
    ):
        for part, features in enumerate(_ranges(n_active_F, format.ACTIVATIONS_PER_PART, format.FEATURES_PER_PART)):
            file = folder / format.part_file(part)
            connection.execute(
                _SORT_PART.format(
                    incoming=format.sql_source(incoming),
                    first=features.start,
                    last=features.stop - 1,
                    part=format.sql_target(file),
                    row_group=format.ACTIVATIONS_PER_ROW_GROUP,
                )
            )
            by_logits = _logit_columns(decoder, features)
            writer.write(
                {
                    "part": np.full(len(features), part, np.int32),
                    **part_statistics(connection, file, features, n_tokens),
                    **by_logits,
                    **_neighbour_columns(unit_FD, features),
                }
            )
            columns = PartOfActivations.read(file, features, text)
            for one in writers:
                one.add(columns)
            for column in ("promoted_tokens", "suppressed_tokens"):
                named.update(by_logits[column].flatten().unique().to_pylist())
            task.advance(len(features))
    return named


@contextmanager
def spilling_database(spill: Path) -> Generator[duckdb.DuckDBPyConnection]:
    """A database in memory, bounded, that spills to a folder of its own; a full disk is an OSError like any other."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": str(spill),
    }
    try:
        with duckdb.connect(config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        if "No space left" in str(error) or "max_temp_directory_size" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _ranges(n_active_F: NDArray[np.int64], most_activations: int, most_features: int) -> list[range]:
    """Cut the features into consecutive ranges of bounded size; a feature over the bound has a range of its own."""
    ends = np.concatenate([[0], n_active_F.cumsum()])
    ranges: list[range] = []
    start = 0
    while start < len(n_active_F):
        fitting = int(np.searchsorted(ends, ends[start] + most_activations, side="right")) - 1
        stop = min(max(fitting, start + 1), start + most_features, len(n_active_F))
        ranges.append(range(start, stop))
        start = stop
    return ranges


def _logit_columns(decoder: Decoder, features: range) -> dict[str, Any]:
    names = ("promoted_tokens", "promoted_logits", "suppressed_tokens", "suppressed_logits")
    if decoder.promoted is None:
        return {name: pa.array([[]] * len(features), format.STATISTICS_SCHEMA.field(name).type) for name in names}
    found = extremes(decoder.W_dec_FD, features, decoder.promoted, format.LISTED)
    tensors = (found.promoted_nK, found.promoted_logits_nK, found.suppressed_nK, found.suppressed_logits_nK)
    return dict(zip(names, map(_lists, tensors), strict=True))


def _neighbour_columns(unit_FD: Tensor, features: range) -> dict[str, Any]:
    ids_nK, cosines_nK = neighbours(unit_FD, features, format.LISTED)
    return {"neighbours": _lists(ids_nK), "cosines": _lists(cosines_nK)}


def _lists(rows_nK: Tensor) -> Any:
    n, k = rows_nK.shape
    values = rows_nK.numpy() if rows_nK.is_floating_point() else rows_nK.numpy().astype(np.int32)
    return pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, values.ravel())
