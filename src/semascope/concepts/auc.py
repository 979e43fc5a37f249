"""Area under the ROC curve, exactly, for many scores at once.

P positive texts, Q negative texts, F features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PAIRS_AT_ONCE = 1 << 24


def auc(positive_PF: Tensor, negative_QF: Tensor) -> Tensor:
    """[F]: the probability that a random positive scores above a random negative, ties counted half."""
    pairs = positive_PF.shape[0] * negative_QF.shape[0]
    columns = max(1, PAIRS_AT_ONCE // max(1, pairs))
    parts = [
        _wins(positive, negative)
        for positive, negative in zip(positive_PF.split(columns, dim=1), negative_QF.split(columns, dim=1), strict=True)
    ]
    return torch.cat(parts) / pairs


def _wins(positive_PF: Tensor, negative_QF: Tensor) -> Tensor:
    above = (positive_PF[:, None] > negative_QF[None]).sum(dim=(0, 1))
    equal = (positive_PF[:, None] == negative_QF[None]).sum(dim=(0, 1))
    return above.double() + 0.5 * equal.double()


def auc_interval(positive_P: Tensor, negative_Q: Tensor, *, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """The 95 % bootstrap interval of one score's AUC, resampling positives and negatives apart."""
    generator = torch.Generator().manual_seed(seed)
    wins_PQ = (positive_P[:, None] > negative_Q[None]).double() + 0.5 * (
        positive_P[:, None] == negative_Q[None]
    ).double()
    values: list[Tensor] = []
    for _ in range(resamples):
        rows = torch.randint(len(positive_P), (len(positive_P),), generator=generator)
        columns = torch.randint(len(negative_Q), (len(negative_Q),), generator=generator)
        values.append(wins_PQ[rows][:, columns].mean())
    low, high = torch.stack(values).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def chance_of(positive_P: Tensor, negative_Q: Tensor) -> float:
    """The one-sided p-value of the Mann-Whitney test: how often chance gives an AUC as high as this or higher.

    By the normal approximation, with the variance lowered for ties (Lehmann, 1975); 1 when all scores are equal.
    """
    p, q = len(positive_P), len(negative_Q)
    n = p + q
    _, ties = torch.cat([positive_P, negative_Q]).unique(return_counts=True)
    tied = (ties.double() ** 3 - ties).sum().item()
    variance = p * q / 12 * (n + 1 - tied / (n * (n - 1)))
    if variance <= 0:
        return 1.0
    excess = p * q * (auc(positive_P[:, None], negative_Q[:, None]).item() - 0.5)
    return 0.5 * math.erfc(excess / math.sqrt(2 * variance))
