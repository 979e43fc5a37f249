"""Sigmoid units whose mean activation is held small by a Kullback-Leibler penalty.

Andrew Ng, "Sparse autoencoder" (CS294A lecture notes, 2011), with a linear output. As written there, all units are
active to some degree; a ``cutoff`` of 0 gives that. With a larger one an activation below it is zero, in training as
afterwards, and codes are as sparse as those of the other variants.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from semascope.kernels import Above, Pattern, Selection, feature_sums, of_entries
from semascope.sae.auxiliary import auxiliary_selections, auxiliary_term
from semascope.sae.barrier import BARRIER_RATE, BarrierAutoencoder
from semascope.sae.base import Losses, Moment, Shape, VariantConfig
from semascope.sae.control import L0Controller
from semascope.sae.initial import fill_with_directions, firing_limits, unit_rows_about_the_median
from semascope.sae.losses import squared_deviation

# Decoder rows start so long that a unit, half on, gives 0.75 of the product at which it comes on.
DECODER_START = 1.5
# A mean activation of exactly 0 or 1 has no finite divergence.
LEAST_MEAN = 1e-6


class KLConfig(VariantConfig):
    """Settings of the KL variant.

    ``rho``: the mean activation that the penalty, weighted by ``coefficient``, holds each unit at; None: whatever gives
    ``l0`` active units a token. ``cutoff``: activations up to here are zero. ``weight_decay``: half of it times the sum
    of all squared weights is added to the loss of a token.
    """

    variant: Literal["kl"] = "kl"
    l0: int | None = Field(default=32, ge=1)
    rho: float | None = Field(default=None, gt=0, lt=1)
    coefficient: float = Field(default=3.0, gt=0)
    cutoff: float = Field(default=0.5, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.l0 is None) == (self.rho is None):
            raise ValueError("kl takes an l0 or a rho, not both and not neither: the one decides the other")
        return self

    def target_l0(self) -> float | None:
        """The L0 asked for, or None where ``rho`` decides it."""
        return None if self.l0 is None else float(self.l0)

    def with_l0(self, l0: int) -> Self:
        """The same settings for another L0."""
        return self.model_copy(update={"l0": l0, "rho": None})


class KL(BarrierAutoencoder[KLConfig]):
    """``f = σ((x − b_dec) W_enc + b_enc)`` and ``‖x − x̂‖² + β Σ_i KL(ρ ‖ mean f_i)`` a token, over the variance.

    ``amplitude_F``: what a unit that is fully on counts for; 1 in training, where the decoder has it.
    """

    centres = True

    def __init__(self, shape: Shape, config: KLConfig, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.register_buffer("amplitude_F", torch.ones(self.held_features, device=device))
        self.amplitude_F: Tensor
        # Of the units that are on, the mean activation is between a half and one.
        start = config.rho or 0.5 * (config.l0 or 1) / self.features
        self.controller = L0Controller(start, config.l0, larger_is_sparser=False, device=device)
        # Decoder rows are of the size of activations too.
        self.rate_factors = {"b_enc_F": BARRIER_RATE, "W_dec_FO": BARRIER_RATE}

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """Units that come on equally often and give the L0 asked for; with a ``rho``, small weights as in the notes."""
        unit_rows_about_the_median(self, sample_BD, target_BO, generator)
        if self.config.l0 is None:
            small = (2 * self.width / (self.width + self.features + 1)) ** 0.5
            fill_with_directions(self.W_enc_FD, generator, features=self.features, held=self.held)
            self.W_enc_FD.mul_(small)
            self.W_dec_FO.mul_(small)
            self.b_enc_F.zero_()
            return
        limits_F = firing_limits(self, sample_BD, self.config.l0)
        self.W_dec_FO.mul_(DECODER_START * (limits_F - self.b_enc_F).abs()[:, None])
        self.b_enc_F.add_(self.least - limits_F)

    @property
    def least(self) -> float:
        """The pre-activation whose sigmoid is the cutoff."""
        cutoff = self.config.cutoff
        return math.log(cutoff / (1 - cutoff)) if cutoff else -math.inf

    def selection(self) -> Selection:
        """Every unit whose activation is above the cutoff."""
        return Above(self.least)

    def activation(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """Sigmoids, in units of the amplitudes."""
        return of_entries(pattern, self.amplitude_F) * pre_K.sigmoid()

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        config = self.config
        selections = [self.selection(), *auxiliary_selections(config, moment)]
        (pattern, pre_K), *auxiliary = self.preactivations(x_BD, selections)
        values_K = self.activation(pattern, pre_K)
        found = self.reconstruction(pattern, values_K, x_BD, target_BO)
        team, rows = self.team, moment.rows_with(x_BD)
        active = team.sum_all(torch.full((), len(values_K), dtype=torch.float32, device=values_K.device))
        rho = self.controller(active, rows).clamp(LEAST_MEAN, 1 - LEAST_MEAN)
        means_F = team.sum_rows(feature_sums(pattern, values_K)) / rows
        variance = squared_deviation(target_BO, rows, team) / rows
        terms = {
            "reconstruction": found.loss / rows / variance,
            "sparsity": config.coefficient * team.sum_features(divergence(rho, means_F).sum()) / variance,
        }
        terms |= auxiliary_term(self, auxiliary, found.error_BO)
        if config.weight_decay:
            squares = self.W_enc_FD.square().sum() + self.W_dec_FO.square().sum()
            # It has no rows: each of those that see some has a share of its gradient.
            whole = team.sum_all(squares / team.row_parts)
            terms["weight decay"] = 0.5 * config.weight_decay * whole / variance
        return Losses.of(terms, found.squared_error, pattern.codes(values_K.detach()))

    def change_units(self, units_F: Tensor) -> None:
        """A sigmoid has its own unit: amplitudes change instead of pre-activations."""
        self.amplitude_F.mul_(units_F)


def divergence(rho: Tensor, means_F: Tensor) -> Tensor:
    """``KL(ρ ‖ ρ̂)`` [F] of coins that come up with these probabilities, in nats."""
    means_F = means_F.clamp(LEAST_MEAN, 1 - LEAST_MEAN)
    return rho * (rho / means_F).log() + (1 - rho) * ((1 - rho) / (1 - means_F)).log()
