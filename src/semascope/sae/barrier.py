"""Variants in which a feature fires where its pre-activation exceeds a fixed number, whatever the other features do.

Its bias then is a barrier: far below zero, for few tokens are to get over it. A feature that has drifted where none
does gets no gradient, and nothing brings it back but a lower barrier.
"""

from __future__ import annotations

from abc import ABC

import torch
from torch import Tensor

from semascope.kernels import Pattern, of_entries
from semascope.sae.base import ConfigT, SparseAutoencoder
from semascope.sae.revival import revival_limits

# How much faster than weights the biases and thresholds learn that decide whether a feature fires: they are of the size
# of activations, which are larger by the square root of the width. docs/LOG.md has the experiment.
BARRIER_RATE = 5.0


class BarrierAutoencoder(SparseAutoencoder[ConfigT], ABC):
    """An autoencoder whose features fire where ``(x − centre) W_enc + b_enc`` exceeds `least`."""

    @property
    def least(self) -> float:
        """What a pre-activation must exceed for its feature to fire."""
        return 0.0

    def auxiliary_values(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """Without the biases: with them, all that dead features have to offer would be far below zero."""
        return pre_K - of_entries(pattern, self.b_enc_F)

    @torch.no_grad()
    def lower_barriers(self, quiet_T: Tensor, x_BD: Tensor) -> None:
        """Raise the biases of quiet features until they fire on some of these rows."""
        revived_T, limits_T = revival_limits(self, quiet_T, x_BD, self.starting_l0)
        self.b_enc_F[revived_T] += (self.least - limits_T).clamp_min(0)
