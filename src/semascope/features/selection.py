"""Which features, and in which order: filters and sorting over all features at once, in memory.

A page of a long list is a slice of an order that is computed once for each way of sorting; a filter is a mask over it.
So a page costs the same wherever in the list it is.

F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semascope.errors import InputError

Sort = Literal["id", "-id", "density", "-density", "maximum", "-maximum", "mean", "-mean"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which features: ``alive`` those that fire (True), that never do (False), or both (None); those that fire on a
    share of tokens between two densities, both included; those ``among`` some ids, and not ``apart_from`` others.
    Ids that do not exist are passed over.
    """

    alive: bool | None = True
    min_density: float = 0.0
    max_density: float = 1.0
    among: Sequence[int] | None = None
    apart_from: Sequence[int] = ()


@dataclass(frozen=True)
class Summary:
    """Of every feature, on how many of ``n_tokens`` it fires, its largest and its mean active value; [F] each."""

    n_active_F: NDArray[np.int64]
    maximum_F: NDArray[np.float32]
    mean_F: NDArray[np.float64]
    n_tokens: int

    @cached_property
    def density_F(self) -> NDArray[np.float64]:
        """The share of tokens on which each feature fires; 0 for a dead one."""
        return self.n_active_F / self.n_tokens

    @cached_property
    def rarity_F(self) -> NDArray[np.float64]:
        """−ln of the share of tokens on which each feature fires, which counts as one token more than was seen."""
        return -np.log((self.n_active_F + 1) / (self.n_tokens + 1))

    @cached_property
    def _orders(self) -> dict[str, NDArray[np.intp]]:
        return {}

    def selected(
        self,
        filter: Filter,
        sort: Sort | NDArray[np.intp] | None,
        weights_F: NDArray[np.float32] | None = None,
        n_in_order: int | None = None,
    ) -> NDArray[np.intp]:
        """The ids of all features that pass the filter, in order; equal ones by id.

        ``sort`` may itself be an order: the ids of all features.

        ``weights_F``: only features of positive weight, the largest first where ``sort`` is None; otherwise None sorts
        by id. ``n_in_order``: how many are sure to be in their places; all when it is None. Raises InputError for an
        unknown order.
        """
        passes_F = self._passes(filter)
        if weights_F is not None:
            if sort is None:
                return _by_weight(weights_F * passes_F, n_in_order)
            passes_F &= weights_F > 0
        order = sort if isinstance(sort, np.ndarray) else self._order(sort or "id")
        return order[passes_F[order]]

    def _passes(self, filter: Filter) -> NDArray[np.bool_]:
        passes_F = np.ones(len(self.n_active_F), np.bool_)
        if filter.min_density > 0 or filter.max_density < 1:
            passes_F &= (self.density_F >= filter.min_density) & (self.density_F <= filter.max_density)
        if filter.alive is not None:
            passes_F &= (self.n_active_F > 0) == filter.alive
        if filter.among is not None:
            passes_F &= _mask(filter.among, len(passes_F))
        passes_F &= ~_mask(filter.apart_from, len(passes_F))
        return passes_F

    def _order(self, sort: Sort) -> NDArray[np.intp]:
        if sort not in get_args(Sort):
            raise InputError(f"features cannot be sorted by '{sort}': expected one of {', '.join(get_args(Sort))}")
        if sort not in self._orders:
            keys = {"density": self.n_active_F, "maximum": self.maximum_F, "mean": self.mean_F}
            key_F = keys.get(sort.removeprefix("-"), np.arange(len(self.n_active_F)))
            self._orders[sort] = np.argsort(-key_F if sort.startswith("-") else key_F, kind="stable")
        return self._orders[sort]


def existing(ids: Sequence[int], n_features: int) -> NDArray[np.intp]:
    """Those of some ids that a dictionary has."""
    found = np.asarray(ids, np.intp)
    return found[(found >= 0) & (found < n_features)]


def _by_weight(weights_F: NDArray[np.float32], n_in_order: int | None) -> NDArray[np.intp]:
    """The ids of the features of positive weight, the largest weight first; equal ones by id.

    The bits of positive numbers are ordered as the numbers are, so that weight and id fit into one integer; integers
    are sorted ten times as fast as pairs, and the first of them are told from the others faster still.
    """
    found = np.flatnonzero(weights_F > 0)
    keys_n = (~weights_F[found].view(np.uint32)).astype(np.uint64)
    keys_n <<= 32
    keys_n |= found.view(np.uint64)
    if n_in_order is not None and n_in_order < len(keys_n):
        keys_n.partition(n_in_order)
    keys_n[:n_in_order].sort()
    keys_n &= 0xFFFFFFFF
    return keys_n.view(np.intp)


def _mask(ids: Sequence[int], n_features: int) -> NDArray[np.bool_]:
    mask_F = np.zeros(n_features, np.bool_)
    mask_F[existing(ids, n_features)] = True
    return mask_F
