"""Which features a list shows, and in which order: filters and sorting over a few numbers of every feature.

The numbers are held in memory, 24 bytes a feature, so that a list of a million features is cut out at any place, and
counted, in some milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.errors import DamagedError, InputError

Sort = Literal["id", "-id", "density", "-density", "maximum", "-maximum", "mean", "-mean"]


@dataclass(frozen=True, slots=True)
class Filter:
    """What features of a list must be.

    ``alive``: only features that fire (True), that never do (False), or all (None). ``min_density`` and
    ``max_density``: the share of tokens on which they fire lies between these, bounds included. ``among``: only
    features with these ids, and ``apart_from``: only others; ids that do not exist are passed over.
    """

    alive: bool | None = True
    min_density: float | None = None
    max_density: float | None = None
    among: Collection[int] | None = None
    apart_from: Collection[int] = ()


class Summary:
    """How often and how strongly every feature fires: ``n_active_F``, ``maximum_F`` and ``mean_F``."""

    def __init__(self, path: Path, n_tokens: int) -> None:
        try:
            table = pq.read_table(path, columns=["n_active", "maximum", "mean"], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"{path} is damaged ({error}): build the index again") from error
        self.n_active_F: NDArray[np.int64] = table.column("n_active").to_numpy()
        self.maximum_F: NDArray[np.float64] = table.column("maximum").to_numpy().astype(np.float64)
        self.mean_F: NDArray[np.float64] = table.column("mean").to_numpy()
        self.density_F: NDArray[np.float64] = self.n_active_F / n_tokens
        self._order = lru_cache(maxsize=None)(self._sorted)

    def passing(self, wanted: Filter) -> NDArray[np.bool_]:
        """Whether each feature passes the filter, [F]."""
        passes_F = np.ones(len(self.n_active_F), np.bool_)
        if wanted.alive is not None:
            passes_F &= (self.n_active_F > 0) == wanted.alive
        if wanted.min_density is not None:
            passes_F &= self.density_F >= wanted.min_density
        if wanted.max_density is not None:
            passes_F &= self.density_F <= wanted.max_density
        if wanted.among is not None:
            passes_F &= self.members(wanted.among)
        if wanted.apart_from:
            passes_F &= ~self.members(wanted.apart_from)
        return passes_F

    def members(self, features: Collection[int]) -> NDArray[np.bool_]:
        """Whether each feature is one of ``features``, [F]; ids that do not exist are passed over."""
        held_F = np.zeros(len(self.n_active_F), np.bool_)
        held_F[[feature for feature in features if 0 <= feature < len(held_F)]] = True
        return held_F

    def in_order(self, passes_F: NDArray[np.bool_], sort: Sort) -> NDArray[np.int64]:
        """The ids of the features that pass, sorted; features that are alike by their ids, the lowest first.

        Raises InputError for an unknown order.
        """
        if sort not in get_args(Sort):
            raise InputError(f"features cannot be sorted by '{sort}': expected one of {', '.join(get_args(Sort))}")
        order_F = self._order(sort)
        return order_F[passes_F[order_F]]

    def _sorted(self, sort: Sort) -> NDArray[np.int64]:
        keys = {
            "id": np.arange(len(self.n_active_F)),
            "density": self.n_active_F,
            "maximum": self.maximum_F,
            "mean": self.mean_F,
        }
        key_F = keys[sort.removeprefix("-")]
        return np.argsort(-key_F if sort.startswith("-") else key_F, kind="stable")
