"""The paper's dictionary: ReLU codes under an L1 penalty weighted by the decoder's norms.

Templeton et al., "Scaling Monosemanticity" (2024), with the recipe of the "Circuits Updates" of April 2024: no
unit-norm constraint, decoder rows at norm 0.1, the encoder their transpose at first, biases zero, the coefficient
warmed linearly over the first 5 % of training, no resampling.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semascope.kernels import Above, Selection, decode, encode
from semascope.records import Codes
from semascope.sae.base import Losses, Moment, SparseAutoencoder, VariantConfig

INITIAL_DECODER_NORM = 0.1

# Above this share of active features, dense matrix products cost less than sparse ones.
DENSE_ABOVE = 0.04


class L1Config(VariantConfig):
    """Settings of the L1 variant: ``coefficient`` is the paper's λ, on activations of mean squared norm D."""

    variant: Literal["l1"] = "l1"
    coefficient: float = Field(default=5.0, gt=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """The paper's 5e-5 for its 200,000 steps; more for shorter runs, by the square root, up to 1e-3."""
        del features
        return min(1e-3, 5e-5 * (200_000 / max(1, steps)) ** 0.5)

    def target_l0(self) -> float | None:
        """None: λ decides."""
        return None


class L1(SparseAutoencoder[L1Config]):
    """``E[‖x − x̂‖² + λ Σ_i f_i(x)·‖W_dec_i‖]`` with ``f = ReLU(x W_enc + b_enc)``."""

    centred = False

    def __init__(self, width: int, features: int, config: L1Config, *, device: torch.device | str = "cpu") -> None:
        super().__init__(width, features, config, device=device)
        # Part of the saved state, so that a resumed training takes the same path as an uninterrupted one; on the CPU,
        # where reading it makes nobody wait.
        self.register_buffer("active_share", torch.ones(()))
        self.active_share: Tensor

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, generator: torch.Generator) -> None:
        """Random decoder directions at norm 0.1, the encoder their transpose, biases zero."""
        del sample_BD
        directions_FD = torch.randn(self.features, self.width, generator=generator)
        directions_FD *= INITIAL_DECODER_NORM / directions_FD.norm(dim=1, keepdim=True)
        self.W_dec_FD.copy_(directions_FD)
        self.W_enc_FD.copy_(directions_FD)
        self.b_enc_F.zero_()
        self.b_dec_D.zero_()

    def selection(self) -> Selection:
        """Every positive pre-activation."""
        return Above(0.0)

    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """The paper's loss, through the sparse kernels once codes are sparse and dense before that."""
        dense = self.active_share.item() > DENSE_ABOVE
        reconstruction_BD, penalty, codes = self._dense(x_BD) if dense else self._sparse(x_BD)
        self.active_share.fill_(codes.values.shape[0] / (x_BD.shape[0] * self.features))
        reconstruction = (reconstruction_BD - x_BD).square().sum(dim=1).mean()
        warmup = min(1.0, moment.fraction / self.config.warmup_fraction) if self.config.warmup_fraction else 1.0
        sparsity = warmup * self.config.coefficient * penalty
        terms = {"reconstruction": reconstruction.detach(), "sparsity": sparsity.detach()}
        return Losses(reconstruction + sparsity, terms, reconstruction_BD.detach(), codes)

    def _sparse(self, x_BD: Tensor) -> tuple[Tensor, Tensor, Codes]:
        [(pattern, pre_K)] = encode(x_BD, None, self.W_enc_FD, self.b_enc_F, [Above(0.0)])
        values_K = pre_K.relu()
        reconstruction_BD = decode(pattern, values_K, self.W_dec_FD) + self.b_dec_D
        norms_F = self.W_dec_FD.norm(dim=1)
        penalty = (values_K * norms_F[pattern.feature_ids]).sum() / x_BD.shape[0]
        return reconstruction_BD, penalty, pattern.codes(values_K.detach())

    def _dense(self, x_BD: Tensor) -> tuple[Tensor, Tensor, Codes]:
        values_BF = (x_BD @ self.W_enc_FD.T + self.b_enc_F).relu()
        reconstruction_BD = values_BF @ self.W_dec_FD + self.b_dec_D
        penalty = (values_BF @ self.W_dec_FD.norm(dim=1)).mean()
        return reconstruction_BD, penalty, Codes.from_dense(values_BF.detach())
