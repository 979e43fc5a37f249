"""TopK codes with an auxiliary loss that revives dead features.

Gao et al., "Scaling and evaluating sparse autoencoders" (2024): the k largest pre-activations, a unit-norm decoder,
tied initialisation, the geometric median as the first pre-bias, and AuxK: the dead features with the largest
pre-activations model what the live ones left over.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semascope.kernels import Selection, TopK, decode, encode
from semascope.sae.base import Losses, Moment, SparseAutoencoder, VariantConfig


class TopKConfig(VariantConfig):
    """Settings of the TopK variant: ``k`` active features a token; AuxK uses up to ``auxiliary_k`` dead ones."""

    variant: Literal["topk"] = "topk"
    k: int = Field(default=32, ge=1)
    auxiliary_k: int = Field(default=256, ge=1)
    auxiliary_coefficient: float = Field(default=1 / 32, ge=0)

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """``2e-4 / √(F / 2¹⁴)``, the published law for long runs; more for short ones, by the square root of steps."""
        long_run = 2e-4 / (features / 2**14) ** 0.5
        return min(2e-3, long_run * max(1.0, 50_000 / max(1, steps)) ** 0.5)

    def target_l0(self) -> float | None:
        """k."""
        return float(self.k)


class TopKAutoencoder(SparseAutoencoder[TopKConfig]):
    """``f = ReLU(top_k((x − b_dec) W_enc + b_enc))`` and ``‖x − x̂‖² / variance + α · ‖e − ê_dead‖² / ‖e‖²``."""

    centred = True

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, generator: torch.Generator) -> None:
        """Random unit decoder rows, the encoder their transpose, ``b_dec`` the geometric median of the sample."""
        directions_FD = torch.randn(self.features, self.width, generator=generator)
        self.W_dec_FD.copy_(directions_FD / directions_FD.norm(dim=1, keepdim=True))
        self.W_enc_FD.copy_(self.W_dec_FD)
        self.b_enc_F.zero_()
        self.b_dec_D.copy_(geometric_median(sample_BD))

    def selection(self) -> Selection:
        """The k largest of each row."""
        return TopK(self.config.k)

    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """The normalised squared error, plus AuxK when there are dead features."""
        dead_F = moment.dead_features if self.config.auxiliary_coefficient else None
        selections: list[Selection] = [self.selection()]
        if dead_F is not None:
            selections.append(TopK(self.config.auxiliary_k, among_F=dead_F))
        (pattern, pre_K), *auxiliary = encode(x_BD, self.centre_D, self.W_enc_FD, self.b_enc_F, selections)
        values_K = pre_K.relu()
        reconstruction_BD = decode(pattern, values_K, self.W_dec_FD) + self.b_dec_D
        variance = (x_BD - x_BD.mean(dim=0)).square().sum()
        error_BD = x_BD - reconstruction_BD
        reconstruction = error_BD.square().sum() / variance
        terms = {"reconstruction": reconstruction.detach()}
        total = reconstruction
        for dead_pattern, dead_pre_K in auxiliary:
            # Raw pre-activations, without ReLU: a dead feature below zero must get a gradient too.
            left_over_BD = error_BD.detach()
            model_of_it_BD = decode(dead_pattern, dead_pre_K, self.W_dec_FD)
            unexplained = (left_over_BD - model_of_it_BD).square().sum() / left_over_BD.square().sum()
            term = self.config.auxiliary_coefficient * unexplained
            terms["auxiliary"] = term.detach()
            total = total + term
        return Losses(total, terms, reconstruction_BD.detach(), pattern.codes(values_K.detach()))

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Take out of the decoder's gradient what would only change the rows' norms."""
        gradient_FD = self.W_dec_FD.grad
        if gradient_FD is not None:
            along_F = torch.einsum("fd,fd->f", gradient_FD, self.W_dec_FD)[:, None]
            gradient_FD.addcmul_(along_F, self.W_dec_FD, value=-1.0)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the decoder's rows back to norm 1."""
        self.W_dec_FD.div_(self.W_dec_FD.norm(dim=1, keepdim=True))


def geometric_median(points_ND: Tensor, *, iterations: int = 50) -> Tensor:
    """The point [D] with the least sum of distances to the given ones, by Weiszfeld's iteration."""
    median_D = points_ND.mean(dim=0)
    for _ in range(iterations):
        weights_N = 1.0 / (points_ND - median_D).norm(dim=1).clamp_min(1e-6)
        median_D = (weights_N @ points_ND) / weights_N.sum()
    return median_D
