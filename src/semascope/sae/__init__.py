"""Sparse autoencoders: one file a variant, the mathematics only, no language model in sight."""

from semascope.sae.base import MATRYOSHKA_PREFIXES, Losses, Moment, Shape, SparseAutoencoder, VariantConfig, by_feature
from semascope.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig
from semascope.sae.format import SavedDictionary, hook_name, load_dictionary, save_dictionary
from semascope.sae.gated import Gated, GatedConfig
from semascope.sae.jumprelu import JumpReLU, JumpReLUConfig
from semascope.sae.kl import KL, KLConfig
from semascope.sae.l1 import L1, L1Config
from semascope.sae.registry import VARIANTS, AnyVariant, build
from semascope.sae.topk import TopKAutoencoder, TopKConfig
from semascope.sae.untrained import untrained_like

__all__ = [
    "KL",
    "L1",
    "MATRYOSHKA_PREFIXES",
    "VARIANTS",
    "AnyVariant",
    "BatchTopKAutoencoder",
    "BatchTopKConfig",
    "Gated",
    "GatedConfig",
    "JumpReLU",
    "JumpReLUConfig",
    "KLConfig",
    "L1Config",
    "Losses",
    "Moment",
    "SavedDictionary",
    "Shape",
    "SparseAutoencoder",
    "TopKAutoencoder",
    "TopKConfig",
    "VariantConfig",
    "build",
    "by_feature",
    "hook_name",
    "load_dictionary",
    "save_dictionary",
    "untrained_like",
]
