"""Counterparts: for each feature of one dictionary, the features of another that are like it.

One row a feature, the features of the other that have the nearest decoder directions, by exact cosine, and those that
fire together with it most, by φ; and of all of them, on how many tokens both fire. Features that never fire have no
counterparts and are none. Directions are compared in blocks of rows, and firing is counted as in `together`, with its
bounds: memory is bounded besides the two decoders.

F features of one dictionary, G of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope import progress
from semascope.features import format
from semascope.features.building import IndexedText, PartOfActivations
from semascope.features.decoder import cosines, counterparts
from semascope.features.index import FeatureIndex
from semascope.features.rowgroups import RowGroupReader, RowGroupWriter
from semascope.features.together import CodesByToken, Counts, company

_PAIRS_AT_ONCE = 1 << 13


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A feature of another dictionary that is like one at hand.

    ``cosine`` of the decoder directions. ``share``: of the tokens on which the feature at hand fires, on how many this
    one does; ``share_there``: the other way round. They are None when the two were not indexed on the same tokens, and
    estimates where a feature fires on more than 4,096 tokens.
    """

    feature: int
    cosine: float
    share: float | None
    share_there: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """A dictionary that is compared: its index, and its directions at length 1, [F, D], as made by ``unit_rows``."""

    index: FeatureIndex
    unit_FD: Tensor

    @property
    def n_active_F(self) -> NDArray[np.int64]:
        """On how many tokens each feature fires."""
        return self.index.summary.n_active_F

    @property
    def alive_n(self) -> NDArray[np.intp]:
        """The features that fire."""
        return np.flatnonzero(self.n_active_F)

    @property
    def firing_nD(self) -> Tensor:
        """Their directions."""
        return self.unit_FD[torch.from_numpy(self.alive_n)]


class Counterparts:
    """The counterparts in another dictionary of each feature of one, as ``write_counterparts`` left them in ``file``.

    ``n_active_F`` and ``n_active_G``: on how many tokens the features of the one and the other fire. ``same_text``:
    whether these are the same tokens.
    """

    def __init__(
        self, file: Path, n_active_F: NDArray[np.int64], n_active_G: NDArray[np.int64], *, same_text: bool
    ) -> None:
        self._rows = RowGroupReader(file, "feature")
        self.n_active_F, self.n_active_G, self.same_text = n_active_F, n_active_G, same_text

    @cached_property
    def _best(self) -> dict[str, NDArray[Any]]:
        return self._rows.columns(["best", "best_cosine", "best_together"])

    @property
    def best_F(self) -> NDArray[np.int32]:
        """The nearest feature by cosine; −1 for a feature that never fires."""
        return self._best["best"]

    @property
    def cosine_F(self) -> NDArray[np.float32]:
        """Its cosine; 0 for a feature that never fires."""
        return self._best["best_cosine"]

    def with_best(self, other: int) -> NDArray[np.intp]:
        """The features whose best counterpart is ``other``, ascending."""
        order, best = self._by_best
        return order[slice(*np.searchsorted(best, (other, other + 1)))]

    @cached_property
    def _by_best(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """The features by their best counterparts, and these."""
        order = np.argsort(self.best_F, kind="stable")
        return order, self.best_F[order]

    def of(self, feature: int) -> list[Counterpart]:
        """The counterparts of a feature, the nearest first: ten by cosine, and ten by firing together, at most."""
        row = self._rows.rows([feature])[feature]
        columns = (row["others"], row["cosines"], row["n_together"])
        return [self.counterpart(feature, *one) for one in zip(*columns, strict=True)]

    def counterpart(self, feature: int, other: int, cosine: float, n_together: int) -> Counterpart:
        """One of them."""
        if not self.same_text:
            return Counterpart(other, cosine, None, None)
        # Of frequent features n_together is an estimate, and may be more than there is.
        share, share_there = (min(1.0, n_together / int(n)) for n in (self.n_active_F[feature], self.n_active_G[other]))
        return Counterpart(other, cosine, share, share_there)

    def as_best(self, other: int, features_n: NDArray[np.intp]) -> list[Counterpart]:
        """Features whose best counterpart is ``other``, as counterparts of that."""
        together_F = self._best["best_together"]
        seen = [self.counterpart(feature, other, 0, int(together_F[feature])) for feature in features_n.tolist()]
        return [
            Counterpart(feature, float(self.cosine_F[feature]), one.share_there, one.share)
            for feature, one in zip(features_n.tolist(), seen, strict=True)
        ]


def write_counterparts(file: Path, here: Side, there: Side, text: IndexedText | None) -> None:
    """Find the counterparts in ``there`` of every feature of ``here``. ``text``: what both were indexed on; None where
    that is not the same."""
    n_there = len(there.unit_FD)
    alive_there, directions_GD = there.alive_n, there.firing_nD
    with (
        RowGroupWriter(file, format.COUNTERPARTS_SCHEMA, format.FEATURES_PER_ROW_GROUP) as writer,
        progress.task("Compare features", total=len(here.unit_FD), unit="features") as task,
    ):
        for features, counted in _parts(here, there, text):
            alive = features.start + np.flatnonzero(here.n_active_F[features.start : features.stop])
            directions_nD = here.unit_FD[torch.from_numpy(alive)]
            near_nK = alive_there[counterparts(directions_nD, directions_GD, format.COUNTERPARTS).numpy()]
            pairs = _with_counts(np.sort((alive[:, None] * n_there + near_nK).ravel()), counted, here, there)
            writer.write(_columns(features, *pairs, here.unit_FD, there.unit_FD))
            task.advance(len(features))


@dataclass(frozen=True, slots=True)
class _Counted:
    """Counts of some features, and how many tokens of each feature, from ``first`` on, they are of."""

    counts: Counts
    looked_at: NDArray[np.int64]
    first: int

    @property
    def looked_at_P(self) -> NDArray[np.int64]:
        return self.looked_at[self.counts.features_P - self.first]


def _parts(here: Side, there: Side, text: IndexedText | None) -> Iterator[tuple[range, Iterator[_Counted]]]:
    """Ranges of features, and for each of them counts, each feature in one of these."""
    n_here, n_there = len(here.unit_FD), len(there.unit_FD)
    if text is None:
        for start in range(0, n_here, format.FEATURES_PER_PART):
            yield range(start, min(start + format.FEATURES_PER_PART, n_here)), iter(())
        return
    files = sorted((there.index.folder / format.part_file(0)).parent.glob("*.parquet"))
    codes = CodesByToken.read(files, text, there.index.n_activations)
    for part in PartOfActivations.all(here.index.folder, text):
        features_K, places_K = codes.sample(part)
        looked_at = np.bincount(features_K - part.features.start, minlength=len(part.features))
        counts = codes.counts(features_K, places_K, n_there)
        yield part.features, (_Counted(one, looked_at, part.features.start) for one in counts)


def _with_counts(
    near_P: NDArray[np.int64], counted: Iterator[_Counted], here: Side, there: Side
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that are near each other, ascending, and those that fire together most: features, others, n_together.

    A pair is one number: feature · G + other.
    """
    n_there = len(there.unit_FD)
    near_together_P = np.zeros(len(near_P), np.int64)
    pairs, together = [near_P], [near_together_P]
    for one in counted:
        counts, n_active_F = one.counts, here.n_active_F
        if not len(counts.counts_P):
            continue
        counted_P = counts.features_P * n_there + counts.others_P
        listed = slice(*np.searchsorted(near_P, (counted_P[0], counted_P[-1] + 1)))
        at = np.searchsorted(counted_P, near_P[listed])
        both = counted_P[at] == near_P[listed]
        near_together_P[listed][both] = counts.of_all(one.looked_at_P, n_active_F)[at[both]]
        features, others, n_together, _ = company(
            counts, one.looked_at_P, n_active_F, there.n_active_F, here.index.n_tokens, most=format.COUNTERPARTS
        )
        pairs.append(features * n_there + others)
        together.append(n_together)
    distinct_P, first_P = np.unique(np.concatenate(pairs), return_index=True)
    return distinct_P // n_there, distinct_P % n_there, np.concatenate(together)[first_P]


def _columns(
    features: range,
    features_P: NDArray[np.int64],
    others_P: NDArray[np.int64],
    together_P: NDArray[np.int64],
    unit_FD: Tensor,
    unit_GD: Tensor,
) -> dict[str, Any]:
    """Rows of the table from pairs in any order."""
    cosines_P = np.concatenate(
        [
            cosines(unit_FD[torch.from_numpy(features_P[some])], unit_GD[torch.from_numpy(others_P[some])]).numpy()
            for start in range(0, len(features_P), _PAIRS_AT_ONCE)
            for some in [slice(start, start + _PAIRS_AT_ONCE)]
        ]
        or [np.zeros(0, np.float32)]
    )
    order = np.lexsort((others_P, -cosines_P, features_P))
    features_P, cosines_P, together_P = features_P[order], cosines_P[order], together_P[order]
    listed_P = others_P[order].astype(np.int32)
    starts = np.searchsorted(features_P, np.arange(features.start, features.stop + 1))
    has = starts[:-1] < starts[1:]

    def best(values_P: NDArray[Any], otherwise: int) -> NDArray[Any]:
        found = np.full(len(features), otherwise, values_P.dtype)
        found[has] = values_P[starts[:-1][has]]
        return found

    def lists(values_P: NDArray[Any]) -> Any:
        return pa.ListArray.from_arrays(starts.astype(np.int32), pa.array(values_P))

    return {
        "feature": np.arange(features.start, features.stop, dtype=np.int32),
        "best": best(listed_P, -1),
        "best_cosine": best(cosines_P, 0),
        "best_together": best(together_P, 0),
        "others": lists(listed_P),
        "cosines": lists(cosines_P),
        "n_together": lists(together_P),
    }
