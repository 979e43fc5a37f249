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

from semascope.kernels import Above, Pattern, Selection
from semascope.records import Codes
from semascope.sae.auxiliary import auxiliary_selections, auxiliary_term
from semascope.sae.barrier import BARRIER_RATE, BarrierAutoencoder
from semascope.sae.base import Losses, Moment, Shape
from semascope.sae.control import L0Controller, PenaltySettings
from semascope.sae.initial import fill_with_directions, firing_limits, scale_to_fit, unit_rows_about_the_median
from semascope.sae.reconstruction import Reconstruction, dense_reconstruction

INITIAL_DECODER_NORM = 0.1

# Above this share of active features, dense matrix products cost less than sparse ones.
DENSE_ABOVE = 0.04

_Found = tuple[Reconstruction, Tensor, Codes, list[tuple[Pattern, Tensor]]]
"""The reconstruction, the penalty, the codes, and what AuxK needs."""


class L1Config(PenaltySettings):
    """Settings of the L1 variant: ``coefficient`` is the paper's λ, on activations of mean squared norm D.

    With an ``l0`` asked for, λ is found for it, and codes are sparse from the start.
    """

    variant: Literal["l1"] = "l1"
    l0: int | None = Field(default=None, ge=1)
    coefficient: float = Field(default=5.0, gt=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """The paper's 5e-5 for its 200,000 steps; more for shorter runs, by the square root, up to 1e-3."""
        if self.l0 is not None:
            return super().default_learning_rate(features=features, steps=steps)
        return min(1e-3, 5e-5 * (200_000 / max(1, steps)) ** 0.5)


class L1(BarrierAutoencoder[L1Config]):
    """``E[‖x − x̂‖² + λ Σ_i f_i(x)·‖W_dec_i‖]`` with ``f = ReLU(x W_enc + b_enc)``, and AuxK."""

    def __init__(self, shape: Shape, config: L1Config, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.controller = L0Controller(config.coefficient, config.l0, device=device)
        if config.l0 is not None:
            self.rate_factors = {"b_enc_F": BARRIER_RATE}
        # Part of the saved state, so that a resumed training takes the same path as an uninterrupted one; on the CPU,
        # where reading it makes nobody wait.
        self.register_buffer("active_share", torch.ones(()))
        self.active_share: Tensor

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """The paper's start; for an L0, that of TopK, with biases at which all features fire equally often."""
        if self.config.l0 is None:
            fill_with_directions(self.W_enc_FD, generator, features=self.features, held=self.held)
            self.W_enc_FD.mul_(INITIAL_DECODER_NORM)
            if self.shape.output_width is None:
                self.W_dec_FO.copy_(self.W_enc_FD)
            else:
                fill_with_directions(self.W_dec_FO, generator, features=self.features, held=self.held)
                self.W_dec_FO.mul_(INITIAL_DECODER_NORM)
            self.b_enc_F.zero_()
            self.b_dec_O.zero_()
        else:
            unit_rows_about_the_median(self, sample_BD, target_BO, generator)
            self.b_enc_F.sub_(firing_limits(self, sample_BD, self.config.l0))
            scale_to_fit(self, self.selection(), sample_BD, target_BO)
            self.active_share.fill_(self.config.l0 / self.features)

    def selection(self) -> Selection:
        """Every positive pre-activation."""
        return Above(0.0)

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        """The paper's loss, through the sparse kernels once codes are sparse and dense before that."""
        dense = self.active_share.item() > DENSE_ABOVE
        found, penalty, codes, auxiliary = (self._dense if dense else self._sparse)(x_BD, target_BO, moment)
        team, rows = self.team, moment.rows_with(x_BD)
        self.active_share.fill_(team.total(codes.values.shape[0]) / (rows * self.features))
        coefficient = self.controller(team.sum_all((codes.values > 0).sum()), rows)
        if self.config.l0 is None and self.config.warmup_fraction:
            coefficient = coefficient * min(1.0, moment.fraction / self.config.warmup_fraction)
        terms = {"reconstruction": found.loss / rows, "sparsity": coefficient * team.sum_all(penalty) / rows}
        terms |= auxiliary_term(self, auxiliary, found.error_BO)
        return Losses.of(terms, found.squared_error, codes)

    def _sparse(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> _Found:
        selections = [self.selection(), *auxiliary_selections(self.config, moment)]
        (pattern, pre_K), *auxiliary = self.preactivations(x_BD, selections)
        values_K = pre_K.relu()
        found = self.reconstruction(pattern, values_K, x_BD, target_BO, with_sizes=True)
        assert found.sizes_K is not None
        return found, found.sizes_K.sum(), pattern.codes(values_K.detach()), auxiliary

    def _dense(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> _Found:
        del moment  # While codes are dense, no feature is dead.
        values_BF = (x_BD @ self.W_enc_FD.T + self.b_enc_F).relu()
        penalty = (values_BF @ self.W_dec_FO.norm(dim=1)).sum()
        rest_BO = self.beyond_skip(x_BD, target_BO)
        found = dense_reconstruction(values_BF, self.W_dec_FO, self.b_dec_O, rest_BO, self.prefix_sizes, self.team)
        return found, penalty, Codes.from_dense(values_BF.detach()), []
