"""Where the entries of sparse codes are, without their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semascope.kernels.selection import Selected
from semascope.records import Codes, row_ids


@dataclass(frozen=True, slots=True)
class Transposed:
    """The same entries grouped by feature: ``offsets`` [F + 1], ``row_ids`` [K], ``order`` [K] into the CSR order."""

    offsets: Tensor
    row_ids: Tensor
    order: Tensor


@dataclass(frozen=True)
class Pattern:
    """The places of K entries in a [B, F] matrix, in CSR form, with its transpose computed once when first needed."""

    row_offsets: Tensor
    feature_ids: Tensor
    n_features: int

    @property
    def n_rows(self) -> int:
        return self.row_offsets.shape[0] - 1

    @cached_property
    def row_ids(self) -> Tensor:
        return row_ids(self.row_offsets, self.feature_ids.shape[0])

    @cached_property
    def transposed(self) -> Transposed:
        order = torch.sort(self.feature_ids, stable=True).indices
        counts_F = torch.bincount(self.feature_ids, minlength=self.n_features)
        offsets = torch.cat([counts_F.new_zeros(1), counts_F.cumsum(0)])
        return Transposed(offsets, self.row_ids[order], order)

    def codes(self, values_K: Tensor) -> Codes:
        """These places with values."""
        return Codes(self.row_offsets, self.feature_ids, values_K, self.n_features)

    @classmethod
    def of(cls, codes: Codes) -> Pattern:
        """The places of given codes."""
        return cls(codes.row_offsets, codes.feature_ids, codes.n_features)

    @classmethod
    def joined(cls, chunks: Sequence[Selected], n_features: int) -> tuple[Pattern, Tensor]:
        """The pattern and the values [K] of consecutive chunks of rows."""
        counts_B = torch.cat([chunk.counts_B for chunk in chunks])
        offsets = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
        ids_K = torch.cat([chunk.feature_ids_K for chunk in chunks])
        return cls(offsets, ids_K, n_features), torch.cat([chunk.values_K for chunk in chunks])
