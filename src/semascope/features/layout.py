"""Two dimensions for decoder directions: UMAP over exact nearest neighbours, seeded and bounded."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.features.decoder import neighbours, unit_rows

_NEIGHBOURS = 15
_LEAST_DISTANCE = 0.1


def lay_out(W_dec_FD: Tensor, *, seed: int) -> NDArray[np.float32]:
    """Positions [F, 2] from −1 to 1 in which directions of high cosine lie close together; the same every time.

    UMAP (McInnes et al. 2018) with 15 neighbours, which are exact: F² D operations in blocks. It starts from the two
    principal components, which with fewer than 17 directions are the result.
    """
    unit_FD = unit_rows(W_dec_FD.cpu())
    start_F2 = _principal_components(unit_FD)
    n = len(unit_FD)
    if n > _NEIGHBOURS + 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what UMAP could do with libraries that are not there
            return _scaled(_umap(unit_FD, start_F2, seed))
    return _scaled(start_F2)


def _umap(unit_FD: Tensor, start_F2: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    # Importing it compiles code for seconds, which only a map needs.
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

    n = len(unit_FD)
    near_FK, cosines_FK = neighbours(unit_FD, range(n), _NEIGHBOURS)
    itself_F1 = np.arange(n)[:, None]
    distances_FK = np.concatenate([np.zeros((n, 1)), (1 - cosines_FK).clamp(min=0).numpy()], axis=1)
    graph = fuzzy_simplicial_set(
        start_F2,
        _NEIGHBOURS + 1,
        np.random.RandomState(seed),  # what UMAP takes
        "precomputed",
        knn_indices=np.concatenate([itself_F1, near_FK.numpy()], axis=1).astype(np.int32),
        knn_dists=distances_FK.astype(np.float32),
    )[0]
    a, b = find_ab_params(1.0, _LEAST_DISTANCE)
    positions, _ = simplicial_set_embedding(
        start_F2,
        graph,
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=None,
        init=start_F2,
        random_state=np.random.RandomState(seed),
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    return positions


def _principal_components(unit_FD: Tensor) -> NDArray[np.float32]:
    centred_FD = unit_FD - unit_FD.mean(0)
    vectors_DD = torch.linalg.eigh(centred_FD.T @ centred_FD).eigenvectors
    found_F2 = centred_FD @ vectors_DD[:, -2:].flip(1)
    return torch.nn.functional.pad(found_F2, (0, 2 - found_F2.shape[1])).numpy()


def _scaled(positions_F2: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = positions_F2.min(0), positions_F2.max(0)
    extent = float((high - low).max()) or 1.0
    return ((positions_F2 - (low + high) / 2) * (2 / extent)).astype(np.float32)
