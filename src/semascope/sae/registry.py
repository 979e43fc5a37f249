"""The variants by name: the one place that lists them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from semascope.sae.base import SparseAutoencoder, VariantConfig
from semascope.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig
from semascope.sae.l1 import L1, L1Config
from semascope.sae.topk import TopKAutoencoder, TopKConfig

AnyVariant = Annotated[L1Config | TopKConfig | BatchTopKConfig, Field(discriminator="variant")]

VARIANTS: dict[str, type[L1Config | TopKConfig | BatchTopKConfig]] = {
    "l1": L1Config,
    "topk": TopKConfig,
    "batchtopk": BatchTopKConfig,
}

_AUTOENCODERS: dict[type[VariantConfig], type[SparseAutoencoder]] = {
    L1Config: L1,
    TopKConfig: TopKAutoencoder,
    BatchTopKConfig: BatchTopKAutoencoder,
}


def build(config: VariantConfig, *, width: int, features: int, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """An autoencoder of the configured variant, with all parameters zero."""
    return _AUTOENCODERS[type(config)](width, features, config, device=device)
