"""Small dictionaries of every variant, for tests."""

import torch
from torch import Tensor

from semascope.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    KLConfig,
    L1Config,
    Moment,
    SparseAutoencoder,
    TopKConfig,
    VariantConfig,
    build,
)
from semascope.training.optimizer import RowAdam

WIDTH, OUTPUT_WIDTH, FEATURES, ROWS = 12, 9, 40, 64

CONFIGS: dict[str, VariantConfig] = {
    "l1": L1Config(coefficient=1.5),
    "l1-l0": L1Config(l0=4, auxiliary_k=6),
    "topk": TopKConfig(k=4, auxiliary_k=6),
    "batchtopk": BatchTopKConfig(k=4, auxiliary_k=6),
    "jumprelu": JumpReLUConfig(l0=4, auxiliary_k=6),
    "jumprelu-gemma-scope": JumpReLUConfig(l0=4, recipe="gemma-scope", auxiliary_k=6),
    "gated": GatedConfig(l0=4, auxiliary_k=6),
    "kl": KLConfig(l0=4, auxiliary_k=6),
    "kl-dense": KLConfig(l0=None, rho=0.1, cutoff=0.0, weight_decay=1e-3),
}
KINDS = {"autoencoder": {}, "transcoder": {"output_width": OUTPUT_WIDTH}, "skip": {"output_width": 9, "skip": True}}


def scaled(x: Tensor) -> Tensor:
    """With a mean squared norm of the width."""
    return x * (x.shape[1] / x.square().sum(dim=1).mean()) ** 0.5


def activations(rows: int = ROWS, seed: int = 0) -> Tensor:
    """Sums of a few of as many directions as there are features, and noise, about a mean that is not zero."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(FEATURES, WIDTH, generator=torch.Generator().manual_seed(7))
    codes = torch.rand(rows, FEATURES, generator=generator) * (torch.rand(rows, FEATURES, generator=generator) < 0.1)
    return scaled(codes @ directions + 0.3 * torch.randn(rows, WIDTH, generator=generator) + 0.5)


def target_of(x: Tensor, kind: str) -> Tensor:
    """What a dictionary of a kind learns to give: the input, or a rectified map of it."""
    if kind == "autoencoder":
        return x
    mixing = torch.randn(WIDTH, OUTPUT_WIDTH, generator=torch.Generator().manual_seed(42), dtype=torch.float64)
    return scaled((x @ mixing.to(x.dtype)).relu() - 0.3)


def fresh(name: str, kind: str = "autoencoder") -> SparseAutoencoder:
    autoencoder = build(CONFIGS[name], width=WIDTH, features=FEATURES, **KINDS[kind])
    x = activations()
    autoencoder.initialize(x, target_of(x, kind), torch.Generator().manual_seed(1))
    return autoencoder


def slightly_trained(name: str, kind: str = "autoencoder", steps: int = 60) -> SparseAutoencoder:
    autoencoder = fresh(name, kind)
    optimizer = RowAdam(
        autoencoder.named_parameters(), unit_rows=autoencoder.unit_rows, rate_factors=autoencoder.rate_factors
    )
    for step in range(steps):
        x = activations(seed=step)
        autoencoder.loss(x, Moment(step / steps), target_of(x, kind)).total.backward()
        optimizer.step(3e-3)
    return autoencoder
