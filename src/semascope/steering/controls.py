"""Random features that are like a given one in all but what they stand for."""

from __future__ import annotations

import torch

from semascope.features import FeatureIndex

# Controls are drawn among so many times more features: those nearest in density and maximum.
_NEAREST = 10


def matched_features(index: FeatureIndex, feature: int, n: int, *, seed: int) -> list[int]:
    """``n`` random features that fire about as often and about as strongly; fewer where there are no more that fire.

    Decoder directions have norm 1, so that the same activation of any feature is a change of the same size.
    """
    densities_F, maxima_F = torch.from_numpy(index.densities()), torch.from_numpy(index.maxima())
    alive_F = (densities_F > 0) & (torch.arange(len(densities_F)) != feature)
    distance_F = (densities_F.log() - densities_F[feature].log()).abs() + (
        maxima_F.log() - maxima_F[feature].log()
    ).abs()
    nearest = distance_F.where(alive_F, torch.inf).argsort()[: min(int(alive_F.sum()), n * _NEAREST)]
    drawn = torch.randperm(len(nearest), generator=torch.Generator().manual_seed(seed))[:n]
    return nearest[drawn].tolist()
