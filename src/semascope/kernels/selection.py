"""Which entries of a dense chunk of pre-activations stay: the rules that make codes sparse.

B rows of the chunk, F features, K entries kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Selected:
    """What one rule kept of one chunk: ``counts_B`` entries a row, then their features and values in row order."""

    counts_B: Tensor
    feature_ids_K: Tensor
    values_K: Tensor


class Selection(Protocol):
    """A rule that picks entries of ``pre_BF``, row by row."""

    def select(self, pre_BF: Tensor) -> Selected:
        """Pick the entries that stay."""
        ...


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``k`` largest pre-activations of each row, of any sign, among all features or those of ``among_F``.

    ``among_F`` lists feature ids. Restricting the choice by listing, not by multiplying with a mask of zeros, is what
    keeps an excluded feature from outranking an included one with a negative pre-activation.
    """

    k: int
    among_F: Tensor | None = None

    def select(self, pre_BF: Tensor) -> Selected:
        candidates_BF = pre_BF if self.among_F is None else pre_BF[:, self.among_F]
        k = min(self.k, candidates_BF.shape[1])
        values_BK, columns_BK = candidates_BF.topk(k, sorted=False)
        ids_BK = columns_BK if self.among_F is None else self.among_F[columns_BK]
        counts_B = torch.full((pre_BF.shape[0],), k, dtype=torch.int64, device=pre_BF.device)
        return Selected(counts_B, ids_BK.flatten(), values_BK.flatten())


@dataclass(frozen=True, slots=True)
class Above:
    """Pre-activations above a threshold: one number for all features, or one for each (``[F]``)."""

    threshold: float | Tensor = 0.0

    def select(self, pre_BF: Tensor) -> Selected:
        kept_BF = pre_BF > self.threshold
        rows, ids_K = kept_BF.nonzero(as_tuple=True)
        counts_B = torch.bincount(rows, minlength=pre_BF.shape[0])
        return Selected(counts_B, ids_K, pre_BF[kept_BF])
