"""Gated: whether a feature is active is decided apart from how active it is, so that the penalty shrinks no activation.

Rajamanoharan et al., "Improving Dictionary Learning with Gated Sparse Autoencoders" (2024). Both paths share one matrix
product: the magnitude's weights are the gate's, scaled by feature.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semascope.kernels import Above, Pattern, Selection, decode, of_entries
from semascope.sae.auxiliary import auxiliary_selections, auxiliary_term
from semascope.sae.barrier import BARRIER_RATE, BarrierAutoencoder
from semascope.sae.base import Losses, Moment, Shape
from semascope.sae.control import L0Controller, PenaltySettings
from semascope.sae.initial import firing_limits, scale_to_fit, unit_rows_about_the_median
from semascope.sae.losses import squared_deviation, squared_error


class GatedConfig(PenaltySettings):
    """Settings of the Gated variant; ``coefficient`` weighs the L1 norm of the gate's pre-activations."""

    variant: Literal["gated"] = "gated"


class Gated(BarrierAutoencoder[GatedConfig]):
    """``f = [gate > 0] · ReLU(exp(r_mag) · (x − b_dec) W_enc + b_mag)`` with ``gate = (x − b_dec) W_enc + b_enc``.

    The loss is ``(‖x − x̂(f)‖² + ‖x − x̂_frozen(ReLU(gate))‖² + λ · Σ ReLU(gate)) / variance``, with AuxK: the second
    term, through a decoder without gradient, is what teaches the gate.
    """

    centres = True

    def __init__(self, shape: Shape, config: GatedConfig, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.r_mag_F = nn.Parameter(torch.zeros(self.held_features, device=device))
        self.b_mag_F = nn.Parameter(torch.zeros(self.held_features, device=device))
        self.controller = L0Controller(config.coefficient, config.l0, device=device)
        self.unit_rows = ("W_dec_FO",)
        self.rate_factors = {"b_enc_F": BARRIER_RATE, "b_mag_F": BARRIER_RATE}

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """As TopK starts, at a size that fits, with gates that open equally often and give the L0 asked for."""
        unit_rows_about_the_median(self, sample_BD, target_BO, generator)
        self.b_mag_F.copy_(self.b_enc_F)
        self.b_enc_F.sub_(firing_limits(self, sample_BD, self.starting_l0))
        self.b_mag_F.mul_(scale_to_fit(self, self.selection(), sample_BD, target_BO))

    def selection(self) -> Selection:
        """Every open gate."""
        return Above(0.0)

    def activation(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """The magnitudes, from the gate's pre-activations."""
        products_K = pre_K - of_entries(pattern, self.b_enc_F)
        return (of_entries(pattern, self.r_mag_F).exp() * products_K + of_entries(pattern, self.b_mag_F)).relu()

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        selections = [self.selection(), *auxiliary_selections(self.config, moment)]
        (pattern, gate_K), *auxiliary = self.preactivations(x_BD, selections)
        values_K = self.activation(pattern, gate_K)
        found = self.reconstruction(pattern, values_K, x_BD, target_BO)
        with torch.no_grad():
            beyond_decoder_BO = self.beyond_skip(x_BD, target_BO) - self.b_dec_O
        team, rows = self.team, moment.rows_with(x_BD)
        by_gate_BO = team.sum_features(decode(pattern, gate_K, self.W_dec_FO.detach()))
        by_gate = team.sum_rows(squared_error(by_gate_BO, beyond_decoder_BO))
        coefficient = self.controller(team.sum_all((values_K.detach() > 0).sum()), rows)
        variance = squared_deviation(target_BO, rows, team)
        terms = {
            "reconstruction": found.loss / variance,
            "gate": by_gate / variance,
            "sparsity": coefficient * team.sum_all(gate_K.sum()) / variance,
        }
        terms |= auxiliary_term(self, auxiliary, found.error_BO)
        return Losses.of(terms, found.squared_error, pattern.codes(values_K.detach()))

    def change_units(self, units_F: Tensor) -> None:
        """The magnitude's bias changes with its feature, its factor does not."""
        super().change_units(units_F)
        self.b_mag_F.mul_(units_F)
