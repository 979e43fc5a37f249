"""How trainings start."""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.sae.base import SparseAutoencoder


def random_directions(autoencoder: SparseAutoencoder, generator: torch.Generator) -> Tensor:
    """Unit rows [F, D], evenly distributed over all directions."""
    directions_FD = torch.randn(autoencoder.features, autoencoder.width, generator=generator)
    return directions_FD / directions_FD.norm(dim=1, keepdim=True)


def tied_unit_rows(autoencoder: SparseAutoencoder, sample_BD: Tensor, generator: torch.Generator) -> None:
    """Gao et al. (2024): random unit decoder rows, the encoder the same, ``b_dec`` the geometric median."""
    autoencoder.W_dec_FD.copy_(random_directions(autoencoder, generator))
    autoencoder.W_enc_FD.copy_(autoencoder.W_dec_FD)
    autoencoder.b_enc_F.zero_()
    autoencoder.b_dec_D.copy_(geometric_median(sample_BD))


def geometric_median(points_ND: Tensor, *, iterations: int = 50) -> Tensor:
    """The point [D] with the least sum of distances to the given ones, by Weiszfeld's iteration."""
    median_D = points_ND.mean(dim=0)
    for _ in range(iterations):
        weights_N = 1.0 / (points_ND - median_D).norm(dim=1).clamp_min(1e-6)
        median_D = (weights_N @ points_ND) / weights_N.sum()
    return median_D
