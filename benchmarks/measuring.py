"""What a dictionary makes of activations at hand, without the model that they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.sae import SparseAutoencoder
from semascope.sae.losses import squared_deviation, squared_error

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """``times_F``: on how many of the tokens each feature fired."""

    tokens: int
    explained_variance: float
    times_F: Tensor

    @property
    def l0(self) -> float:
        """Active features a token."""
        return self.times_F.sum().item() / self.tokens

    @property
    def silent(self) -> float:
        """The share of features that never fired."""
        return (self.times_F == 0).double().mean().item()


@torch.no_grad()
def measured(autoencoder: SparseAutoencoder, x_ND: Tensor) -> Measured:
    """Encode and decode all rows."""
    error, times_F = 0.0, torch.zeros(autoencoder.features, dtype=torch.int64)
    for x_BD in x_ND.split(ROWS_AT_ONCE):
        codes = autoencoder.encode(x_BD)
        error += squared_error(autoencoder.decode(codes), x_BD).item()
        times_F += torch.bincount(codes.feature_ids[codes.values > 0], minlength=autoencoder.features)
    return Measured(len(x_ND), 1 - error / squared_deviation(x_ND).item(), times_F)
