"""The whole indexed text in memory, and what is read of a sorted part of the activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.features import format
from semascope.features.rowgroups import RowGroupReader


@dataclass(frozen=True, slots=True)
class IndexedText:
    """All windows one after another, 8 bytes a token.

    ``tokens_N`` and ``documents_N`` [N tokens], ``windows_W`` the numbers of the windows, ascending, and ``starts_W``
    the place of the first token of each.
    """

    tokens_N: NDArray[np.int32]
    documents_N: NDArray[np.int32]
    windows_W: NDArray[np.int32]
    starts_W: NDArray[np.int64]

    @classmethod
    def read(cls, windows_file: Path) -> IndexedText:
        """Read a windows.parquet."""
        table = pq.read_table(windows_file, use_threads=False).combine_chunks()
        tokens, documents = table.column("tokens").combine_chunks(), table.column("documents").combine_chunks()
        return cls(
            tokens.flatten().to_numpy(),
            documents.flatten().to_numpy(),
            table.column("window").to_numpy(),
            tokens.offsets.to_numpy()[:-1].astype(np.int64),
        )

    def places(self, windows_K: NDArray[np.int32], positions_K: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where tokens lie in the text, [K]."""
        first = self.windows_W[0]
        start_of = np.zeros(int(self.windows_W[-1] - first) + 1, np.int64)
        start_of[self.windows_W - first] = self.starts_W
        return start_of[windows_K - first] + positions_K

    def window_of(self, places_K: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of the windows in which places lie, [K]."""
        return self.windows_W[np.searchsorted(self.starts_W, places_K, side="right") - 1]


@dataclass(frozen=True, slots=True)
class PartOfActivations:
    """The activations of consecutive features, by feature and strongest first: feature, place in the text, value,
    and whether it is the strongest of its window, [K] each."""

    features: range
    features_K: NDArray[np.int32]
    places_K: NDArray[np.int64]
    values_K: NDArray[np.float32]
    peaks_K: NDArray[np.bool_]

    @classmethod
    def read(cls, part_file: Path, features: range, text: IndexedText) -> PartOfActivations:
        """Read a part of the activations."""
        table = pq.read_table(part_file, columns=["feature", "window", "position", "value", "peak"], use_threads=False)
        return cls(
            features,
            table.column("feature").to_numpy(),
            text.places(table.column("window").to_numpy(), table.column("position").to_numpy()),
            table.column("value").to_numpy(),
            table.column("peak").to_numpy(),
        )

    @classmethod
    def all(cls, folder: Path, text: IndexedText) -> Iterator[PartOfActivations]:
        """The parts of the finished index in ``folder``, one after another."""
        part_F = RowGroupReader(folder / format.STATISTICS_FILE, "feature").columns(["part"])["part"]
        starts = np.searchsorted(part_F, np.arange(part_F[-1] + 2))
        for part in range(len(starts) - 1):
            yield cls.read(folder / format.part_file(part), range(int(starts[part]), int(starts[part + 1])), text)
