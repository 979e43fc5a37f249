"""Many numbers as the few that a figure shows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_POINTS = 300
_BINS_PER_DECADE = 8


def averaged(values: ArrayLike) -> NDArray[np.float64]:
    """At most 300 averages of consecutive values."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return array
    return np.array([part.mean() for part in np.array_split(array, min(len(array), _MOST_POINTS))])


def density_bins(densities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of some densities, at least one and all above zero, lie in each of n bins of equal width in their
    logarithm: counts [n], and the n + 1 edges as powers of ten.
    """
    exponents = np.log10(np.asarray(densities, np.float64))
    low, high = math.floor(exponents.min()), math.ceil(exponents.max())
    high = max(high, low + 1)
    return np.histogram(exponents, bins=np.linspace(low, high, _BINS_PER_DECADE * (high - low) + 1))
