"""Confidence intervals by resampling independent units: windows of text, or texts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RESAMPLES = 1000


def interval(
    statistic: Callable[[Tensor], Tensor], units_UC: Tensor, *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % percentile interval of ``statistic`` over resampled sums of units.

    Args:
        statistic: takes sums [R, C] and returns one number for each of R resamples.
        units_UC: C additive quantities of each of U independent units.
    """
    generator = torch.Generator().manual_seed(seed)
    units = units_UC.shape[0]
    weights_RU = torch.zeros(resamples, units, dtype=torch.float64)
    drawn_RU = torch.randint(units, (resamples, units), generator=generator)
    weights_RU.scatter_add_(1, drawn_RU, torch.ones_like(weights_RU))
    values_R = statistic(weights_RU @ units_UC.double())
    low, high = values_R.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
