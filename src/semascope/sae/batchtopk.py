"""BatchTopK: k active features a token on average, more where a token needs more.

Bussmann, Leask, Nanda, "BatchTopK Sparse Autoencoders" (2024): the k·B largest pre-activations of a batch of B. At
inference a batch must not matter: everything above a fixed threshold is active, the running mean of the smallest
activation that batches kept in training.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor

from semascope.kernels import Above, BatchTopK, Selection
from semascope.sae.auxiliary import normalized_losses
from semascope.sae.base import Losses, Moment, SparseAutoencoder
from semascope.sae.initial import tied_unit_rows
from semascope.sae.topk import TopKConfig

THRESHOLD_MOMENTUM = 0.9
# Where to start looking for the smallest activation that stays: somewhat below where it was lately.
LIKELY_SHARE = 0.93


class BatchTopKConfig(TopKConfig):
    """Settings of the BatchTopK variant: ``k`` active features a token on average."""

    variant: Literal["batchtopk"] = "batchtopk"  # pyright: ignore[reportIncompatibleVariableOverride]


class BatchTopKAutoencoder(SparseAutoencoder[BatchTopKConfig]):
    """``f = ReLU(top_kB(pre))`` in training, ``f = pre · [pre > θ]`` afterwards; the loss is that of TopK."""

    centred = True
    unit_rows = ("W_dec_FD",)

    def __init__(
        self, width: int, features: int, config: BatchTopKConfig, *, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(width, features, config, device=device)
        # In float32 whatever the weights are, and part of the saved state.
        self.register_buffer("threshold", torch.zeros((), device=device))
        self.threshold: Tensor

    @torch.no_grad()
    def initialize(self, sample_BD: Tensor, generator: torch.Generator) -> None:
        """As TopK starts."""
        tied_unit_rows(self, sample_BD, generator)
        self.threshold.zero_()

    def selection(self) -> Selection:
        """Everything above the threshold."""
        return Above(self.threshold.item())

    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """TopK's loss over the k·B largest; moves the threshold for inference along."""
        selection = BatchTopK(self.config.k, likely=LIKELY_SHARE * self.threshold.item())
        losses = normalized_losses(self, selection, x_BD, moment)
        self._follow(losses.codes.values)
        return losses

    @torch.no_grad()
    def _follow(self, values_K: Tensor) -> None:
        """The running mean of the smallest kept activation; the first batch sets it."""
        if len(values_K):
            momentum = torch.where(self.threshold > 0, THRESHOLD_MOMENTUM, 0.0)
            self.threshold.lerp_(values_K.min().to(self.threshold), 1 - momentum)

    def folded(self, scale: float) -> Self:
        """The same dictionary in the model's units; rows have norm 1, so the threshold only changes its unit."""
        folded = super().folded(scale)
        folded.threshold.copy_(self.threshold / scale)
        return folded
