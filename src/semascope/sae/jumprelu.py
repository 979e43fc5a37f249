"""JumpReLU: each feature has a threshold of its own, learned through a straight-through gradient.

Two published recipes. "gemma-scope" (Rajamanoharan et al., "Jumping Ahead", 2024; Lieberum et al., "Gemma Scope",
2024): a unit-norm decoder and a penalty on L0 itself; the jump's gradient reaches the thresholds alone. "anthropic"
(Conerly et al., "Circuits Updates", January 2025): a tanh penalty weighted by the decoder's norms; the jump's gradient
reaches everything that makes a pre-activation, and a small loss pulls dead features to their thresholds (here the
thresholds are lowered to meet them, and what stays dead starts afresh).

Both start here with thresholds that give the L0 asked for, and with windows of the straight-through gradient that suit
activations of mean squared norm D and runs of thousands of steps: docs/LOG.md has what the published ones do.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semascope.kernels import Above, Selection, of_entries
from semascope.sae.auxiliary import auxiliary_selections, auxiliary_term
from semascope.sae.barrier import BARRIER_RATE
from semascope.sae.base import Losses, Moment, Shape, SparseAutoencoder
from semascope.sae.control import L0Controller, PenaltySettings
from semascope.sae.initial import firing_limits, scale_to_fit, unit_rows_about_the_median
from semascope.sae.losses import squared_deviation
from semascope.sae.revival import revival_limits, start_afresh

BANDWIDTHS = {"gemma-scope": 0.3, "anthropic": 0.5}
# Where the tanh penalty levels off (Conerly et al.).
TANH_SCALE = 4.0


class JumpReLUConfig(PenaltySettings):
    """Settings of the JumpReLU variant. ``bandwidth`` of the straight-through window; None: that of the recipe."""

    variant: Literal["jumprelu"] = "jumprelu"
    recipe: Literal["gemma-scope", "anthropic"] = "anthropic"
    bandwidth: float | None = Field(default=None, gt=0)


class JumpReLU(SparseAutoencoder[JumpReLUConfig]):
    """``f = pre · [pre > θ]`` and ``(‖x − x̂‖² + λ · penalty(f)) / variance``, with AuxK.

    ``centred`` is a choice of the dictionary: those of other tools take their input as it is.
    """

    centres = True

    def __init__(self, shape: Shape, config: JumpReLUConfig, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.threshold_F = nn.Parameter(torch.zeros(self.held_features, device=device))
        self.controller = L0Controller(config.coefficient, config.l0, device=device)
        self.bandwidth = config.bandwidth or BANDWIDTHS[config.recipe]
        if config.recipe == "gemma-scope":
            self.unit_rows = ("W_dec_FO",)
        # Alone to set the L0, thresholds need the pace of what they are compared with.
        rate = BARRIER_RATE if config.recipe == "anthropic" else self.width**0.5
        self.rate_factors = {"threshold_F": rate}

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """As TopK starts, at a size that fits, with thresholds at which all features fire equally often, for the L0."""
        unit_rows_about_the_median(self, sample_BD, target_BO, generator)
        limits_F = firing_limits(self, sample_BD, self.starting_l0)
        factor = scale_to_fit(self, Above(limits_F), sample_BD, target_BO)
        self.threshold_F.copy_((factor * limits_F).clamp_min(self.bandwidth))

    def selection(self) -> Selection:
        """Everything above its feature's threshold; thresholds are never negative."""
        return Above(self.threshold_F.detach().relu())

    @torch.no_grad()
    def lower_barriers(self, quiet_T: Tensor, x_BD: Tensor) -> None:
        """Lower the thresholds of quiet features, and where they cannot go low enough, raise the biases."""
        revived_T, limits_T = revival_limits(self, quiet_T, x_BD, self.starting_l0)
        missing_T = (self.bandwidth - limits_T).clamp_min(0)
        self.b_enc_F[revived_T] += missing_T
        self.threshold_F[revived_T] = torch.minimum(self.threshold_F[revived_T], limits_T + missing_T)

    @torch.no_grad()
    def renew(self, dead_T: Tensor, x_BD: Tensor, target_BO: Tensor) -> Tensor:
        """Start dead features afresh, where rows are reconstructed badly, with thresholds at which they fire as often
        as features do on average.

        What the encoder reads where a feature is silent, nothing teaches: all near their thresholds are pushed away
        from what tokens have in common, until it reads little else. A lower barrier then brings it back for a step.
        """
        renewed_T, limit = start_afresh(self, dead_T, x_BD, target_BO, self.starting_l0, least=self.bandwidth)
        self.threshold_F[renewed_T] = limit
        return renewed_T

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        config = self.config
        in_reach = Above(self.threshold_F.detach().relu() - self.bandwidth / 2)
        selections = [in_reach, *auxiliary_selections(config, moment)]
        (pattern, pre_K), *auxiliary = self.preactivations(x_BD, selections)
        theta_K = of_entries(pattern, self.threshold_F.relu())
        jumping_K = pre_K if config.recipe == "anthropic" else pre_K.detach()
        active_K = _Step.apply(jumping_K, theta_K, self.bandwidth)
        # The product rule gives the gradient of the value and that of the jump.
        values_K = pre_K * active_K
        found = self.reconstruction(pattern, values_K, x_BD, target_BO, with_sizes=config.recipe == "anthropic")
        penalty = active_K.sum() if found.sizes_K is None else (TANH_SCALE * found.sizes_K).tanh().sum()
        team, rows = self.team, moment.rows_with(x_BD)
        variance = squared_deviation(target_BO, rows, team)
        coefficient = self.controller(team.sum_all(active_K.detach().sum()), rows)
        terms = {
            "reconstruction": found.loss / variance,
            "sparsity": coefficient * team.sum_all(penalty) / variance,
        }
        terms |= auxiliary_term(self, auxiliary, found.error_BO)
        return Losses.of(terms, found.squared_error, pattern.codes(values_K.detach()))

    def change_units(self, units_F: Tensor) -> None:
        """Thresholds change with their features."""
        super().change_units(units_F)
        self.threshold_F.mul_(units_F)


class _Step(torch.autograd.Function):
    """``[pre > θ]``; its gradient is that of a ramp of the bandwidth's width: ``±1/ε`` where ``|pre − θ| < ε/2``."""

    @staticmethod
    def forward(ctx: Any, pre_K: Tensor, theta_K: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre_K, theta_K)
        ctx.bandwidth = bandwidth
        return (pre_K > theta_K).to(pre_K.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pre_K, theta_K = ctx.saved_tensors
        within_K = (pre_K - theta_K).abs() < ctx.bandwidth / 2
        slope_K = gradients[0] * within_K / ctx.bandwidth
        return (slope_K if ctx.needs_input_grad[0] else None), -slope_K, None
