"""TopK codes with an auxiliary loss that revives dead features.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024): the k largest pre-activations, a unit-norm decoder,
tied initialisation, the geometric median as the first pre-bias, and AuxK: the dead features with the largest
pre-activations model what the live ones left over.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from semascope.kernels import Selection, TopK
from semascope.sae.auxiliary import AuxiliarySettings, normalized_losses
from semascope.sae.base import Losses, Moment, SparseAutoencoder
from semascope.sae.initial import tied_unit_rows


class TopKConfig(AuxiliarySettings):
    """Settings of the TopK variant: ``k`` active features a token; AuxK uses up to ``auxiliary_k`` dead ones."""

    variant: Literal["topk"] = "topk"
    k: int = Field(default=32, ge=1)

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """``2e-4 / √(F / 2¹⁴)``, the published law for long runs; more for short ones, by the square root of steps."""
        long_run = 2e-4 / (features / 2**14) ** 0.5
        return min(2e-3, long_run * max(1.0, 50_000 / max(1, steps)) ** 0.5)

    def target_l0(self) -> float | None:
        """k."""
        return float(self.k)

    def with_l0(self, l0: int) -> Self:
        """The same settings with another k."""
        return self.model_copy(update={"k": l0})


class TopKAutoencoder(SparseAutoencoder[TopKConfig]):
    """``f = ReLU(top_k((x − b_dec) W_enc + b_enc))`` and ``‖x − x̂‖² / variance + α · ‖e − ê_dead‖² / ‖e‖²``."""

    centred = True
    unit_rows = ("W_dec_FD",)

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, generator: torch.Generator) -> None:
        """Random unit decoder rows, the encoder their transpose, ``b_dec`` the geometric median of the sample."""
        tied_unit_rows(self, sample_BD, generator)

    def selection(self) -> Selection:
        """The k largest of each row."""
        return TopK(self.config.k)

    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """The normalised squared error, plus AuxK when there are dead features."""
        return normalized_losses(self, self.selection(), x_BD, moment)
