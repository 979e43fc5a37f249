"""BatchTopK: k active features a token on average, more where a token needs more.

Bussmann, Leask, Nanda, "BatchTopK Sparse Autoencoders" (2024): the k·B largest pre-activations of a batch of B. At
inference a batch must not matter: everything above a fixed threshold is active, the running mean of the smallest
activation that batches kept in training.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semascope.kernels import Above, BatchTopK, Selection
from semascope.sae.auxiliary import normalized_losses
from semascope.sae.base import Losses, Moment, Shape, SparseAutoencoder
from semascope.sae.initial import scale_to_fit, unit_rows_about_the_median
from semascope.sae.revival import start_afresh
from semascope.sae.topk import TopKConfig

THRESHOLD_MOMENTUM = 0.9
# Where to start looking for the smallest activation that stays: somewhat below where it was lately.
LIKELY_SHARE = 0.93


class BatchTopKConfig(TopKConfig):
    """Settings of the BatchTopK variant: ``k`` active features a token on average."""

    variant: Literal["batchtopk"] = "batchtopk"  # pyright: ignore[reportIncompatibleVariableOverride]


class BatchTopKAutoencoder(SparseAutoencoder[BatchTopKConfig]):
    """``f = ReLU(top_kB(pre))`` in training, ``f = pre · [pre > θ]`` afterwards; the loss is that of TopK."""

    centres = True

    def __init__(self, shape: Shape, config: BatchTopKConfig, *, device: torch.device | str = "cpu") -> None:
        super().__init__(shape, config, device=device)
        self.unit_rows = ("W_dec_FO",)
        # In float32 whatever the weights are, and part of the saved state.
        self.register_buffer("threshold", torch.zeros((), device=device))
        self.threshold: Tensor

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """As TopK starts."""
        unit_rows_about_the_median(self, sample_BD, target_BO, generator)
        scale_to_fit(self, BatchTopK(self.config.k), sample_BD, target_BO)
        self.threshold.zero_()

    def selection(self) -> Selection:
        """Everything above the threshold."""
        return Above(self.threshold)

    def renew(self, dead_T: Tensor, x_BD: Tensor, target_BO: Tensor) -> Tensor:
        """Start dead features afresh, where rows are reconstructed badly."""
        return start_afresh(self, dead_T, x_BD, target_BO, self.config.k)[0]

    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses:
        """TopK's loss over the k·B largest; moves the threshold for inference along."""
        selection = BatchTopK(self.config.k, likely=LIKELY_SHARE * self.threshold)
        losses = normalized_losses(self, selection, x_BD, target_BO, moment)
        self._follow(losses.codes.values)
        return losses

    @torch.no_grad()
    def _follow(self, values_K: Tensor) -> None:
        """The running mean of the smallest kept activation; the first batch sets it."""
        least = self.team.least(values_K.min() if len(values_K) else values_K.new_tensor(torch.inf))
        momentum = torch.where(self.threshold > 0, THRESHOLD_MOMENTUM, 0.0)
        moved = self.threshold.lerp(least.to(self.threshold), 1 - momentum)
        self.threshold.copy_(torch.where(least.isinf(), self.threshold, moved))

    def change_units(self, units_F: Tensor) -> None:
        """The threshold changes with its features, whose units are all the same: decoder rows have norm 1."""
        super().change_units(units_F)
        self.threshold.mul_(units_F.mean())
