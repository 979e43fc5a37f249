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
    Ids that do not exist are passed over, here and in a ranking.
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
        ranked: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> NDArray[np.intp]:
        """The ids of all features that pass the filter, in order; equal ones by id.

        ``sort`` may itself be an order: the ids of all features.

        ``ranked``: only these, and in this order where ``sort`` is None; otherwise None sorts by id. Raises InputError
        for an unknown order.
        """
        passes_F = self._passes(filter)
        if ranked is not None:
            ranked = _existing(ranked, len(passes_F))
            if sort is None:
                return ranked[passes_F[ranked]]
            passes_F &= _mask(ranked, len(passes_F))
        order = sort if isinstance(sort, np.ndarray) else self._order(sort or "id")
        return order[passes_F[order]]

    def _passes(self, filter: Filter) -> NDArray[np.bool_]:
        passes_F = (self.density_F >= filter.min_density) & (self.density_F <= filter.max_density)
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


def _existing(ids: Sequence[int] | NDArray[np.integer], n_features: int) -> NDArray[np.intp]:
    ids = np.asarray(ids, np.intp)
    return ids[(ids >= 0) & (ids < n_features)]


def _mask(ids: Sequence[int] | NDArray[np.integer], n_features: int) -> NDArray[np.bool_]:
    mask_F = np.zeros(n_features, np.bool_)
    mask_F[_existing(ids, n_features)] = True
    return mask_F
