"""The features around one, as points: those that lie near it on the map, or its neighbours by their cosines.

n features, D width, F features of the index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.features.map import FeatureMap


@dataclass(frozen=True, slots=True)
class Around:
    """Features with positions: the one asked for first, at (0, 0), and the others within a circle of radius 1."""

    features_n: NDArray[np.int64]
    positions_n2: NDArray[np.float64]


def around_on_map(map: FeatureMap, feature: int, n: int) -> Around | None:
    """The feature and the ``n`` nearest on the map; None when it is not on the map."""
    places = np.flatnonzero(map.features_n == feature)
    if not len(places):
        return None
    offsets_F2 = map.positions_n2.astype(np.float64) - map.positions_n2[places[0]]
    distances_F = np.square(offsets_F2).sum(axis=1)
    distances_F[places[0]] = -1  # before others that lie on the same place
    nearest = np.argpartition(distances_F, min(n, len(distances_F) - 1))[: n + 1]
    nearest = nearest[np.argsort(distances_F[nearest], kind="stable")]
    return Around(map.features_n[nearest].astype(np.int64), _within_circle(offsets_F2[nearest]))


def around_by_cosine(features: list[int], directions_nD: NDArray[np.floating]) -> Around:
    """Features by their directions, of which the first is in the middle.

    The axes are those along which the unit directions differ from it most. In the whole space they are √(2 − 2 cos)
    away; flat, they can only come nearer.
    """
    units_nD = directions_nD / np.linalg.norm(directions_nD, axis=1, keepdims=True).clip(min=1e-12)
    offsets_nD = (units_nD - units_nD[0]).astype(np.float64)
    values, vectors_nn = np.linalg.eigh(offsets_nD @ offsets_nD.T)
    positions_n2 = (vectors_nn * np.sqrt(values.clip(min=0)))[:, ::-1][:, :2]
    flat = np.pad(positions_n2, ((0, 0), (0, 2 - positions_n2.shape[1])))
    flat[0] = 0
    return Around(np.asarray(features, np.int64), _within_circle(flat))


def _within_circle(positions_n2: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = float(np.linalg.norm(positions_n2, axis=1).max()) or 1.0
    return positions_n2 / reach
