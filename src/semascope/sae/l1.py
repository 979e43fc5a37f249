"""The paper's dictionary: ReLU codes under an L1 penalty weighted by the decoder's norms.

Templeton et al., "Scaling Monosemanticity" (2024), with the recipe of the "Circuits Updates" of April 2024: no
unit-norm constraint, decoder rows at norm 0.1, the encoder their transpose at first, biases zero, the coefficient
warmed linearly over the first 5 % of training, no resampling.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from semascope.errors import ConfigError
from semascope.kernels import Above, Selection, row_norms
from semascope.records import Codes
from semascope.sae.base import Losses, Moment, SparseAutoencoder, VariantConfig
from semascope.sae.initial import random_directions
from semascope.sae.reconstruction import Reconstruction, dense_reconstruction

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

    def with_l0(self, l0: int) -> Self:
        """Not possible: λ decides."""
        raise ConfigError(
            f"l1 takes a coefficient and no L0 (asked for: {l0}): choose topk or batchtopk for a given L0"
        )

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
        self.W_dec_FD.copy_(INITIAL_DECODER_NORM * random_directions(self, generator))
        self.W_enc_FD.copy_(self.W_dec_FD)
        self.b_enc_F.zero_()
        self.b_dec_D.zero_()

    def selection(self) -> Selection:
        """Every positive pre-activation."""
        return Above(0.0)

    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """The paper's loss, through the sparse kernels once codes are sparse and dense before that."""
        dense = self.active_share.item() > DENSE_ABOVE
        found, penalty, codes = self._dense(x_BD) if dense else self._sparse(x_BD)
        self.active_share.fill_(codes.values.shape[0] / (x_BD.shape[0] * self.features))
        warmup = min(1.0, moment.fraction / self.config.warmup_fraction) if self.config.warmup_fraction else 1.0
        terms = {
            "reconstruction": found.loss / len(x_BD),
            "sparsity": warmup * self.config.coefficient * penalty / len(x_BD),
        }
        return Losses.of(terms, found.squared_error, codes)

    def _sparse(self, x_BD: Tensor) -> tuple[Reconstruction, Tensor, Codes]:
        [(pattern, pre_K)] = self.preactivations(x_BD, [self.selection()])
        values_K = pre_K.relu()
        penalty = (values_K * row_norms(pattern, self.W_dec_FD)).sum()
        return self.reconstruction(pattern, values_K, x_BD), penalty, pattern.codes(values_K.detach())

    def _dense(self, x_BD: Tensor) -> tuple[Reconstruction, Tensor, Codes]:
        values_BF = (x_BD @ self.W_enc_FD.T + self.b_enc_F).relu()
        penalty = (values_BF @ self.W_dec_FD.norm(dim=1)).sum()
        found = dense_reconstruction(values_BF, self.W_dec_FD, self.b_dec_D, x_BD, self.prefix_sizes)
        return found, penalty, Codes.from_dense(values_BF.detach())
