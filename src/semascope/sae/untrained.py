"""A dictionary that has learned nothing: what a trained one has to be better than."""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.sae.base import SparseAutoencoder
from semascope.sae.initial import fill_with_directions
from semascope.sae.registry import build
from semascope.sae.topk import TopKConfig


def untrained_like(autoencoder: SparseAutoencoder, centre_D: Tensor, l0: float, *, seed: int = 0) -> SparseAutoencoder:
    """As many features as the given dictionary has, in random directions about ``centre_D``, ``l0`` active a token.

    Of many random directions some tell almost anything from anything else, so what the best of many features tells is
    compared with what the best of these does.
    """
    config = TopKConfig(k=max(1, round(l0)))
    untrained = build(config, width=autoencoder.width, features=autoencoder.features, device=centre_D.device)
    with torch.no_grad():
        fill_with_directions(untrained.W_enc_FD, torch.Generator().manual_seed(seed))
        untrained.W_dec_FO.copy_(untrained.W_enc_FD)
        untrained.b_dec_O.copy_(centre_D)
    return untrained
