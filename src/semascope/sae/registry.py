"""The variants by name: the one place that lists them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from semascope.sae.base import Shape, SparseAutoencoder, VariantConfig
from semascope.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig
from semascope.sae.gated import Gated, GatedConfig
from semascope.sae.jumprelu import JumpReLU, JumpReLUConfig
from semascope.sae.kl import KL, KLConfig
from semascope.sae.l1 import L1, L1Config
from semascope.sae.topk import TopKAutoencoder, TopKConfig

AnyVariant = Annotated[
    TopKConfig | BatchTopKConfig | JumpReLUConfig | GatedConfig | L1Config | KLConfig, Field(discriminator="variant")
]

_AUTOENCODERS: dict[type[VariantConfig], type[SparseAutoencoder]] = {
    TopKConfig: TopKAutoencoder,
    BatchTopKConfig: BatchTopKAutoencoder,
    JumpReLUConfig: JumpReLU,
    GatedConfig: Gated,
    L1Config: L1,
    KLConfig: KL,
}

VARIANTS: dict[str, type[VariantConfig]] = {config.model_fields["variant"].default: config for config in _AUTOENCODERS}


def build(
    config: VariantConfig,
    *,
    width: int,
    features: int,
    output_width: int | None = None,
    skip: bool = False,
    held: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> SparseAutoencoder:
    """An autoencoder of the configured variant, or with an ``output_width`` a transcoder, with all parameters zero.

    ``held``: see `Shape`.
    """
    return _AUTOENCODERS[type(config)](Shape(width, features, output_width, skip, held), config, device=device)
