"""Regions of the map at several scales, each named by the tokens that its features fire on and others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REGIONS = (8, 5, 5)  # each region of a scale is cut into so many of the next
_FEWEST_FEATURES = 4  # a region of fewer would be named by chance
_WORDS = 3
_LEAST_WEIGHT = 1e-6  # what rounding makes of a word that is as frequent everywhere


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the map: its scale from 0, the coarsest, its centre, its features, and what they fire on."""

    level: int
    x: float
    y: float
    n_features: int
    name: str


def divide(positions_n2: NDArray[np.float32], *, seed: int) -> list[NDArray[np.int64]]:
    """The region of each position at each scale, [n] for each: k-means, within the regions of the coarser scale."""
    levels: list[NDArray[np.int64]] = []
    regions_n = np.zeros(len(positions_n2), np.int64)
    for parts in _REGIONS:
        divided_n = np.empty_like(regions_n)
        n_regions = 0
        for region in range(int(regions_n.max(initial=0)) + 1):
            members = np.flatnonzero(regions_n == region)
            cut = _cut(positions_n2[members], max(1, min(parts, len(members) // _FEWEST_FEATURES)), seed)
            divided_n[members] = n_regions + cut
            n_regions += int(cut.max(initial=-1)) + 1
        levels.append(divided_n)
        regions_n = divided_n
    return levels


def _cut(positions_n2: NDArray[np.float32], parts: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans  # slow to import

    distinct = len(np.unique(positions_n2, axis=0))
    if min(parts, distinct) < 2:
        return np.zeros(len(positions_n2), np.int64)
    found = KMeans(min(parts, distinct), n_init=1, random_state=seed).fit_predict(positions_n2)  # pyright: ignore[reportArgumentType]
    return np.unique(found, return_inverse=True)[1]


def name_regions(
    positions_n2: NDArray[np.float32],
    levels: Sequence[NDArray[np.int64]],
    tokens: Sequence[Sequence[int]],
    shares: Sequence[Sequence[float]],
    texts: Mapping[int, str],
) -> list[Region]:
    """Every region with a name of up to three words, the coarsest first.

    ``tokens`` and ``shares``: the top tokens of each feature and their shares of its activation. A word's weight in a
    region is its part in the Kullback-Leibler divergence of the region's tokens from all tokens: p · log(p / q).
    """
    words: dict[str, int] = {}
    entries = [
        (feature, words.setdefault(word, len(words)), share)
        for feature, (ids, parts) in enumerate(zip(tokens, shares, strict=True))
        for token, share in zip(ids, parts, strict=True)
        if any(map(str.isalnum, word := texts[token].strip().lower()))
    ]
    features_E, words_E, shares_E = (np.array(column) for column in zip(*entries, strict=True)) if entries else (
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    )  # fmt: skip
    names = list(words)
    everywhere_W = np.bincount(words_E, shares_E, len(names)) / max(shares_E.sum(), 1e-30)
    found: list[Region] = []
    for level, regions_n in enumerate(levels):
        for region in range(int(regions_n.max(initial=-1)) + 1):
            members_n = regions_n == region
            here_E = members_n[features_E]
            share_W = np.bincount(words_E[here_E], shares_E[here_E], len(names))
            share_W /= max(share_W.sum(), 1e-30)
            weight_W = np.where(share_W > 0, share_W * np.log(np.maximum(share_W, 1e-30) / everywhere_W), 0)
            best = np.argsort(-weight_W, kind="stable")[:_WORDS]
            name = ", ".join(names[word] for word in best if weight_W[word] > _LEAST_WEIGHT)
            x, y = positions_n2[members_n].mean(0).tolist()
            found.append(Region(level, x, y, int(members_n.sum()), name))
    return found
