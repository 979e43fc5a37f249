"""Where the entries of sparse codes are, without their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semascope.records import Codes, row_ids


@dataclass(frozen=True, slots=True)
class Transposed:
    """The same entries grouped by feature.

    ``features_T`` int64 [T]: the features that have entries, ascending. ``offsets`` int64 [T + 1]: where the entries of
    each begin. ``row_ids`` int64 [K]: their rows. ``order`` int64 [K]: their places in the order of the pattern.

    ``distinct``: otherwise ``features_T`` is longer, and ends with repeats that have no entries (see `gpu.transpose`).
    """

    features_T: Tensor
    offsets: Tensor
    row_ids: Tensor
    order: Tensor
    distinct: bool = True


@dataclass(frozen=True)
class Pattern:
    """The places of K entries in a [B, F] matrix, in CSR form; within a row, features ascend.

    ``touchable``: a number of features that surely no more have entries, where one is known.
    """

    row_offsets: Tensor
    feature_ids: Tensor
    n_features: int
    touchable: int | None = None

    @property
    def n_rows(self) -> int:
        return self.row_offsets.shape[0] - 1

    @cached_property
    def row_ids(self) -> Tensor:
        """int64 [K]: the row of each entry."""
        return row_ids(self.row_offsets, self.feature_ids.shape[0])

    def transposed(self, transpose: Callable[[Pattern], Transposed]) -> Transposed:
        """The entries grouped by feature; computed once, by the first backend's ``transpose``."""
        if "_transposed" not in self.__dict__:
            self.__dict__["_transposed"] = transpose(self)
        return self.__dict__["_transposed"]

    def codes(self, values_K: Tensor) -> Codes:
        """These places with values."""
        return Codes(self.row_offsets, self.feature_ids, values_K, self.n_features)

    def where(self, kept_K: Tensor) -> Pattern:
        """The places that a mask keeps."""
        before = torch.cat([self.row_offsets.new_zeros(1), kept_K.cumsum(0)])
        return Pattern(before[self.row_offsets], self.feature_ids[kept_K], self.n_features)

    @classmethod
    def of(cls, codes: Codes) -> Pattern:
        """The places of given codes."""
        return cls(codes.row_offsets, codes.feature_ids, codes.n_features)

    @classmethod
    def from_counts(cls, counts_B: Tensor, feature_ids: Tensor, n_features: int) -> Pattern:
        """The pattern whose rows have so many entries each."""
        return cls(torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)]), feature_ids, n_features)


def row_by_row(patterns: Sequence[Pattern], values: Sequence[Tensor]) -> tuple[Pattern, Tensor]:
    """The entries of several patterns of the same shape as one, those of each row together; no host synchronisation."""
    if len(patterns) == 1:
        return patterns[0], values[0]
    offsets = torch.stack([pattern.row_offsets for pattern in patterns]).sum(dim=0)
    known = [pattern.touchable for pattern in patterns if pattern.touchable is not None]
    ids_K = torch.cat([pattern.feature_ids for pattern in patterns])
    joined_K = torch.cat(list(values))
    joined = Pattern(offsets, ids_K, patterns[0].n_features, sum(known) if len(known) == len(patterns) else None)
    ends_B = offsets[:-1].clone()
    for pattern, values_K in zip(patterns, values, strict=True):
        shifts_B = ends_B - pattern.row_offsets[:-1]
        places_K = shifts_B[pattern.row_ids] + torch.arange(len(values_K), device=values_K.device)
        ids_K[places_K], joined_K[places_K] = pattern.feature_ids, values_K
        ends_B += pattern.row_offsets.diff()
    return joined, joined_K
