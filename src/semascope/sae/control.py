"""The user asks for an L0 and gets it: one number of a loss, steered by the L0 of the batches."""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from semascope.sae.base import VariantConfig

# A proportional and integral controller on logarithms: how far the number answers to an L0 that is off now, and how
# much of that stays at each step. An L0 that is further off than a factor of e² counts as that far.
PROPORTIONAL, INTEGRAL, FURTHEST = 1.0, 0.2, 2.0


class PenaltySettings(VariantConfig):
    """Settings of a variant whose sparsity comes from a penalty.

    ``l0``: active features a token. The penalty's ``coefficient`` is then only where the search for it starts; with an
    ``l0`` of None it stays as it is and decides the L0.
    """

    l0: int | None = Field(default=32, ge=1)
    coefficient: float = Field(default=1.0, gt=0)

    def target_l0(self) -> float | None:
        """The L0 asked for, or None where the coefficient decides it."""
        return None if self.l0 is None else float(self.l0)

    def with_l0(self, l0: int) -> Self:
        """The same settings for another L0."""
        return self.model_copy(update={"l0": l0})


class L0Controller(nn.Module):
    """A positive number that follows what the batches' L0 calls for; constant where no L0 is asked for.

    Its state is a buffer, so that a resumed training goes on exactly.
    """

    def __init__(
        self, start: float, l0: int | None, *, larger_is_sparser: bool = True, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self._l0, self._sign = l0, 1.0 if larger_is_sparser else -1.0
        self.register_buffer("log_value", torch.tensor(math.log(start), device=device))
        self.log_value: Tensor

    @torch.no_grad()
    def forward(self, active: Tensor, n_rows: int) -> Tensor:
        """The number for a batch of ``n_rows`` with so many ``active`` entries. No host synchronisation."""
        if self._l0 is None:
            return self.log_value.exp()
        excess = (active / (n_rows * self._l0)).log().clamp(-FURTHEST, FURTHEST).to(self.log_value)
        self.log_value += self._sign * INTEGRAL * excess
        return (self.log_value + self._sign * PROPORTIONAL * excess).exp()
