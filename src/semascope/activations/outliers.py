"""Which activations a dictionary should not learn from: the first position and massive activations.

A model's residual stream parks enormous vectors on a few tokens (norms 100 times the median, first of all at position
0). They carry no meaning for a reader, wreck a scalar normalisation, and dominate a squared error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MASSIVE_FACTOR = 10.0
MEDIANS_KEPT = 64


@dataclass
class OutlierCounts:
    """How many tokens were left out, and why, of how many."""

    tokens: int = 0
    first_position: int = 0
    massive: int = 0

    @property
    def kept(self) -> int:
        """How many are left to learn from."""
        return self.tokens - self.first_position - self.massive


class OutlierFilter:
    """Marks tokens at position 0 and those whose norm, at any site, exceeds 10 times the running median norm there.

    The running median is the median of the medians of the last 64 batches, so one strange batch does not move it, and
    its whole state is a short list of numbers.
    """

    def __init__(self, *recent_medians: Sequence[float], counts: OutlierCounts | None = None) -> None:
        """``recent_medians``: those of each site, from `recent_medians`; none to begin with."""
        self.counts = counts or OutlierCounts()
        self._medians = [deque(medians, maxlen=MEDIANS_KEPT) for medians in recent_medians]

    @property
    def recent_medians(self) -> list[list[float]]:
        """For each site, the state that `OutlierFilter` takes to go on where this one stands."""
        return [list(medians) for medians in self._medians]

    def keep(self, *activations_BTD: Tensor) -> Tensor:
        """bool [B, T]: which tokens to learn from, given the activations at each site. Updates medians and counts."""
        self._medians = self._medians or [deque[float](maxlen=MEDIANS_KEPT) for _ in activations_BTD]
        keeps_BT = [self._moderate(x, medians) for x, medians in zip(activations_BTD, self._medians, strict=True)]
        keep_BT = torch.stack(keeps_BT).all(dim=0)
        self.counts.massive += int((~keep_BT[:, 1:]).sum())
        self.counts.first_position += keep_BT.shape[0]
        self.counts.tokens += keep_BT.numel()
        keep_BT[:, 0] = False
        return keep_BT

    def _moderate(self, activations_BTD: Tensor, medians: deque[float]) -> Tensor:
        """Which norms are within the limit of a site."""
        norms_BT = activations_BTD.float().norm(dim=2)
        medians.append(norms_BT[:, 1:].median().item() if norms_BT.shape[1] > 1 else norms_BT.median().item())
        return norms_BT <= massive_norm(medians)


def massive_norm(recent_medians: Iterable[float]) -> float:
    """The norm above which an activation is massive, by a site's recent medians."""
    return MASSIVE_FACTOR * torch.tensor(list(recent_medians)).median().item()
