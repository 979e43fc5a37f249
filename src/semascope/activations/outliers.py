"""Which activations a dictionary should not learn from: the first position and massive activations.

A model's residual stream parks enormous vectors on a few tokens (norms 100 times the median, first of all at position
0). They carry no meaning for a reader, wreck a scalar normalisation, and dominate a squared error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
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
    """Marks tokens at position 0 and those whose norm exceeds 10 times the running median norm.

    The running median is the median of the medians of the last 64 batches, so one strange batch does not move it, and
    its whole state is a short list of numbers.
    """

    def __init__(self, recent_medians: Sequence[float] = (), counts: OutlierCounts | None = None) -> None:
        self.counts = counts or OutlierCounts()
        self._medians = deque(recent_medians, maxlen=MEDIANS_KEPT)

    @property
    def recent_medians(self) -> list[float]:
        """The state that `OutlierFilter` takes to go on where this one stands."""
        return list(self._medians)

    def keep(self, activations_BTD: Tensor) -> Tensor:
        """bool [B, T]: which tokens to learn from. Updates the running median and the counts."""
        norms_BT = activations_BTD.float().norm(dim=2)
        self._medians.append(norms_BT[:, 1:].median().item() if norms_BT.shape[1] > 1 else norms_BT.median().item())
        limit = MASSIVE_FACTOR * torch.tensor(list(self._medians)).median().item()
        keep_BT = norms_BT <= limit
        self.counts.massive += int((~keep_BT[:, 1:]).sum())
        self.counts.first_position += keep_BT.shape[0]
        self.counts.tokens += keep_BT.numel()
        keep_BT[:, 0] = False
        return keep_BT
