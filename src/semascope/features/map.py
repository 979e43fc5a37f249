"""The map of a dictionary: every feature a point, features of like directions close together, regions with names.

    map/points.parquet     one row a feature on the map and its position
    map/regions.parquet    one row a region

It lies in the index's folder, is made when somebody asks for it, and goes when the index is built again. Only features
that fire are on it, and of more than 100,000 a sample: laying out takes F² D operations, and so many points are what a
browser draws smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope import progress
from semascope.errors import DamagedError, MismatchError, NumericalError
from semascope.features.index import FeatureIndex
from semascope.features.layout import lay_out
from semascope.features.regions import Region, divide, name_regions
from semascope.files import folder_written_atomically

_FOLDER = "map"
_POINTS, _REGIONS = "points.parquet", "regions.parquet"
_MOST_FEATURES = 100_000


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """Points and regions: ``features_n`` ids, ``positions_n2`` from −1 to 1, and the regions' names by scale."""

    features_n: NDArray[np.int32]
    positions_n2: NDArray[np.float32]
    regions: tuple[Region, ...]

    @staticmethod
    def exists(index: FeatureIndex) -> bool:
        """Whether a map of this index was made."""
        return (index.folder / _FOLDER).is_dir()

    @staticmethod
    def made_at(index: FeatureIndex) -> int:
        """When the map of this index was made, in nanoseconds: it tells one map from another. There must be one."""
        return (index.folder / _FOLDER).stat().st_mtime_ns

    @classmethod
    def read(cls, index: FeatureIndex) -> FeatureMap:
        """Read the map of an index. Raises DamagedError when there is none, or one that cannot be read."""
        folder = index.folder / _FOLDER
        if not folder.is_dir():
            raise DamagedError(f"{index.folder} holds no map: make it with 'semascope index RUN --map'")
        try:
            points, regions = (pq.read_table(folder / name) for name in (_POINTS, _REGIONS))
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(
                f"the map in {folder} is damaged ({error}): delete the folder and make it again"
            ) from error
        return cls(
            points.column("feature").to_numpy(),
            np.stack([points.column("x").to_numpy(), points.column("y").to_numpy()], axis=1),
            tuple(Region(**row) for row in regions.to_pylist()),
        )


def make_map(
    index: FeatureIndex, W_dec_FD: Tensor, *, seed: int = 0, most_features: int = _MOST_FEATURES
) -> FeatureMap:
    """Lay out the features that fire by their decoder directions, and keep the map in the index's folder.

    Raises MismatchError when the decoder is of another width than the index, NumericalError when no feature fires.
    """
    if len(W_dec_FD) != index.n_features:
        raise MismatchError(
            f"a decoder of {len(W_dec_FD):,} features was given for an index of {index.n_features:,}: give the decoder "
            "of the dictionary that was indexed"
        )
    features_n = np.flatnonzero(index.densities() > 0).astype(np.int32)
    if not len(features_n):
        raise NumericalError(f"no feature of {index.folder} fires: there is nothing to show on a map")
    if len(features_n) > most_features:
        features_n = np.sort(np.random.default_rng(seed).choice(features_n, most_features, replace=False))
    with progress.task("Lay out the map", total=len(features_n), unit="features") as task:
        positions_n2 = lay_out(W_dec_FD.detach()[torch.from_numpy(features_n).long().to(W_dec_FD.device)], seed=seed)
        levels = divide(positions_n2, seed=seed)
        tokens, shares = index.top_tokens(features_n)
        regions = name_regions(positions_n2, levels, tokens, shares, index.token_texts)
        task.advance(len(features_n))
    with folder_written_atomically(index.folder / _FOLDER) as folder:
        columns = {"feature": features_n, "x": positions_n2[:, 0], "y": positions_n2[:, 1]}
        pq.write_table(pa.table(columns), folder / _POINTS)
        names = Region.__dataclass_fields__
        pq.write_table(
            pa.table({name: [getattr(region, name) for region in regions] for name in names}), folder / _REGIONS
        )
    return FeatureMap.read(index)
