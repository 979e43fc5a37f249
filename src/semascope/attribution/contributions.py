"""What each place, or each feature, contributes: the active entries of a prompt, grouped for a question.

K active entries (a feature at a position), N contributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Contributions:
    """Active entries in groups, the largest attribution first.

    ``features_N``, and ``positions_N``: where a group's attribution is largest in absolute value. ``activations_N``: a
    group's strongest. ``attributions_N``: its sum. ``places_N``: how many entries it has. ``groups_K``: the group of
    each entry of the attribution that it is from.
    """

    features_N: Tensor
    positions_N: Tensor
    activations_N: Tensor
    attributions_N: Tensor
    places_N: Tensor
    groups_K: Tensor

    def __len__(self) -> int:
        return len(self.features_N)


def grouped(
    keys_K: Tensor, features_K: Tensor, positions_K: Tensor, activations_K: Tensor, attributions_K: Tensor
) -> Contributions:
    """Entries with equal keys together."""
    keys_N, groups_K, places_N = keys_K.unique(return_inverse=True, return_counts=True)
    sums_N = attributions_K.new_zeros(len(keys_N)).index_add_(0, groups_K, attributions_K)
    # Entries by group, and within a group by size: the last of each is its largest.
    by_size_K = attributions_K.abs().argsort(stable=True)
    by_group_K = by_size_K[groups_K[by_size_K].argsort(stable=True)]
    largest_N = by_group_K[places_N.cumsum(0) - 1]
    strongest_N = activations_K.new_zeros(len(keys_N)).scatter_reduce_(0, groups_K, activations_K, "amax")
    order_N = sums_N.argsort(descending=True, stable=True)
    ranks_N = torch.empty_like(order_N)
    ranks_N[order_N] = torch.arange(len(order_N), device=order_N.device)
    return Contributions(
        features_N=features_K[largest_N][order_N],
        positions_N=positions_K[largest_N][order_N],
        activations_N=strongest_N[order_N],
        attributions_N=sums_N[order_N],
        places_N=places_N[order_N],
        groups_K=ranks_N[groups_K],
    )
