"""How well a number that is cheap to have (attribution, activation) tells what ablation does.

N contributions.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from semascope.evaluation import interval

_FEWEST = 3  # two points lie on a line


@dataclass(frozen=True, slots=True)
class Agreement:
    """Correlations of a prediction with the effects of ablation, over ``compared`` contributions.

    ``pearson_interval``: 95 %, by bootstrap over contributions. ``shared_top``: how many of the ``top`` with the
    largest prediction are among as many with the largest effect. Correlations are None where there are too few
    contributions or all are equal, the interval also where resamples may be; ``shared_top`` is None where only a sample
    was ablated.
    """

    pearson: float | None
    pearson_interval: tuple[float, float] | None
    spearman: float | None
    top: int
    shared_top: int | None
    compared: int

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def agreement(predicted_N: Tensor, effect_N: Tensor, *, top: int = 10, complete: bool = True) -> Agreement:
    """Compare predictions with effects; ``complete``: whether these are all that there are, and not a sample."""
    predicted_N, effect_N = predicted_N.double().cpu(), effect_N.double().cpu()
    top = min(top, len(predicted_N))
    shared = set(predicted_N.topk(top).indices.tolist()) & set(effect_N.topk(top).indices.tolist())
    pearson, bounds = correlation(predicted_N, effect_N), None
    if pearson is not None:
        low, high = interval(_pearson, _sums(predicted_N, effect_N), seed=0)
        # Of few contributions a resample may have no spread.
        bounds = (low, high) if math.isfinite(low) and math.isfinite(high) else None
    return Agreement(
        pearson=pearson,
        pearson_interval=bounds,
        spearman=correlation(_ranks(predicted_N), _ranks(effect_N)),
        top=top,
        shared_top=len(shared) if complete else None,
        compared=len(predicted_N),
    )


def correlation(a_N: Tensor, b_N: Tensor) -> float | None:
    """Pearson's, or None where it is not defined."""
    if len(a_N) < _FEWEST:
        return None
    r = _pearson(_sums(a_N, b_N).sum(dim=0, keepdim=True)).item()
    return r if math.isfinite(r) else None


def _sums(a_N: Tensor, b_N: Tensor) -> Tensor:
    """[N, 6]: what the correlation of any selection of rows is made of, in units that make it exact."""
    a_N, b_N = ((x_N - x_N.mean()) / x_N.std().clamp_min(torch.finfo(x_N.dtype).tiny) for x_N in (a_N, b_N))
    return torch.stack([torch.ones_like(a_N), a_N, b_N, a_N * a_N, b_N * b_N, a_N * b_N], dim=1)


def _pearson(sums_R6: Tensor) -> Tensor:
    """[R]: correlations from sums of 1, a, b, a², b² and ab."""
    n, a, b, aa, bb, ab = sums_R6.unbind(dim=1)
    return (ab - a * b / n) / ((aa - a * a / n) * (bb - b * b / n)).sqrt()


def _ranks(values_N: Tensor) -> Tensor:
    """Ranks from 0, those of equal values their mean."""
    _, places_N, counts = values_N.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double() - 1
    return (last - (counts - 1) / 2)[places_N]
