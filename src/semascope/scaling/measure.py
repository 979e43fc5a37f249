"""How good a dictionary is on activations that were kept: no language model runs."""

from __future__ import annotations

from typing import Literal

import torch

from semascope.activations import ActivationStore
from semascope.records import Site
from semascope.sae import L1Config, SavedDictionary, VariantConfig

# What there is to know of a dictionary of the grid.
MEASURES = ("loss", "explained_variance", "normalized_mse", "l0", "dead_fraction", "dead_counted_over_tokens")

# Activations that are encoded together.
ROWS = 4096


LawLoss = Literal["unexplained variance", "squared error and L1 penalty"]


def law_is_about(variant: VariantConfig) -> LawLoss:
    """Which loss the law is of: the paper's own where its coefficient is given, else what stays unexplained.

    An L0 that is asked for is held by a penalty that changes, so that the losses of two trainings cannot be compared.
    """
    fixed = isinstance(variant, L1Config) and variant.l0 is None
    return "squared error and L1 penalty" if fixed else "unexplained variance"


@torch.no_grad()
def measure(saved: SavedDictionary, variant: VariantConfig, held_out: ActivationStore, site: Site) -> dict[str, float]:
    """Loss, explained variance (about the mean), normalized MSE and L0 of a folded dictionary, on all that is kept; and
    which features training left dead.

    The paper's loss is that of scaled activations, whose mean squared norm is their width.
    """
    autoencoder = saved.autoencoder
    device = autoencoder.W_dec_FO.device
    tokens, active, squared_error, squares, sizes = 0, 0, 0.0, 0.0, 0.0
    sum_D = torch.zeros(autoencoder.width, dtype=torch.float64)
    for _, activations in held_out.batches(site, rows=ROWS):
        x_ND = activations.values_ND.to(device)
        codes = autoencoder.encode(x_ND)
        tokens += len(x_ND)
        active += int((codes.values > 0).sum())
        sizes += float(codes.values.double().sum())
        squared_error += float((x_ND - autoencoder.predict(x_ND, codes)).double().square().sum())
        squares += float(x_ND.double().square().sum())
        sum_D += x_ND.double().sum(dim=0).cpu()
    unexplained = squared_error / (squares - float(sum_D.square().sum()) / tokens)
    loss = unexplained
    if isinstance(variant, L1Config) and law_is_about(variant) != "unexplained variance":
        scale = saved.metadata["activation_scale"]
        loss = (scale**2 * squared_error + variant.coefficient * scale * sizes) / tokens
    return {
        "loss": loss,
        "explained_variance": 1 - unexplained,
        "normalized_mse": squared_error / squares,
        "l0": active / tokens,
        "tokens": tokens,
    } | {name: saved.metadata[name] for name in ("dead_fraction", "dead_counted_over_tokens")}
