"""TopK codes with an auxiliary loss that revives dead features.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024): the k largest pre-activations, a unit-norm decoder,
tied initialisation, the geometric median as the first pre-bias, and AuxK: the dead features with the largest
pre-activations model what the live ones left over. Those that stay dead start afresh (see `revival`).
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from semascope.kernels import Selection, TopK
from semascope.sae.auxiliary import normalized_losses
from semascope.sae.base import Losses, Moment, Shape, SparseAutoencoder, VariantConfig
from semascope.sae.initial import scale_to_fit, unit_rows_about_the_median
from semascope.sae.revival import start_afresh


class TopKConfig(VariantConfig):
    """Settings of the TopK variant: ``k`` active features a token."""

    variant: Literal["topk"] = "topk"
    k: int = Field(default=32, ge=1)

    def target_l0(self) -> float | None:
        """k."""
        return float(self.k)

    def with_l0(self, l0: int) -> Self:
        """The same settings with another k."""
        return self.model_copy(update={"k": l0})


class TopKAutoencoder(SparseAutoencoder[TopKConfig]):
    """``f = ReLU(top_k((x − b_dec) W_enc + b_enc))`` and ``‖x − x̂‖² / variance + α · ‖e − ê_dead‖² / ‖e‖²``."""

    centres = True

    def __init__(self, shape: Shape, config: TopKConfig, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.unit_rows = ("W_dec_FO",)

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """Random unit decoder rows, the encoder their transpose at a size that fits, ``b_dec`` the geometric median."""
        unit_rows_about_the_median(self, sample_BD, target_BO, generator)
        scale_to_fit(self, self.selection(), sample_BD, target_BO)

    def selection(self) -> Selection:
        """The k largest of each row."""
        return TopK(self.config.k)

    def renew(self, dead_T: Tensor, x_BD: Tensor, target_BO: Tensor) -> Tensor:
        """Start dead features afresh, where rows are reconstructed badly."""
        return start_afresh(self, dead_T, x_BD, target_BO, self.config.k)[0]

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        return normalized_losses(self, self.selection(), x_BD, target_BO, moment)
