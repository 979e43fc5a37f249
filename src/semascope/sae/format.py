"""Dictionaries on disk: the folder that SAELens reads, ``cfg.json`` and ``sae_weights.safetensors``.

Saved dictionaries are folded (`SparseAutoencoder.folded`): they take the model's raw activations, and their decoder
rows have norm 1. Names of architectures are those of SAELens; beyond them there are "kl", and transcoders of "topk",
"gated" and "kl".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.errors import DamagedError, FormatError
from semascope.files import folder_written_atomically, read_json, read_tensors, write_json, write_tensors
from semascope.records import Site
from semascope.sae.base import SparseAutoencoder, VariantConfig
from semascope.sae.batchtopk import BatchTopKAutoencoder, BatchTopKConfig
from semascope.sae.gated import Gated, GatedConfig
from semascope.sae.jumprelu import JumpReLU, JumpReLUConfig
from semascope.sae.kl import KL, KLConfig
from semascope.sae.l1 import L1, L1Config
from semascope.sae.registry import build
from semascope.sae.topk import TopKAutoencoder, TopKConfig

# The release of SAELens whose loader the files were checked with.
SAELENS_VERSION = "6.54.12"

# Where TransformerLens 3 reads the same activations. Models with a norm behind their MLP (Gemma 2 and 3, OLMo 2) are
# the exception: there hook_mlp_out comes after that norm, and the site before it.
_HOOK_NAMES = {
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
    "mlp_in": "mlp.hook_in",
    "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "neurons": "mlp.hook_post",
}


@dataclass(frozen=True)
class SavedDictionary:
    """A dictionary read from disk, with the metadata that says what it was made from."""

    autoencoder: SparseAutoencoder
    metadata: Mapping[str, Any]


def hook_name(site: Site) -> str:
    """The site in the naming of TransformerLens, which SAELens files use."""
    return f"blocks.{site.layer}.{_HOOK_NAMES[site.kind]}"


def save_dictionary(autoencoder: SparseAutoencoder, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write a dictionary so that SAELens and `load_dictionary` read it; replaces ``folder`` in one step.

    ``metadata`` goes into ``cfg.json`` beside what the weights themselves say.
    """
    with folder_written_atomically(folder) as temporary:
        write_json(
            temporary / "cfg.json",
            {
                **_architecture(autoencoder),
                "d_in": autoencoder.width,
                "d_sae": autoencoder.features,
                "dtype": "float32",
                "device": "cpu",
                "apply_b_dec_to_input": autoencoder.centred,
                "normalize_activations": "none",
                "reshape_activations": "none",
                # Without a release here SAELens takes the file for one from before 6.0 and drops the metadata.
                "metadata": {**metadata, **_remarks(autoencoder), "sae_lens_version": SAELENS_VERSION},
            },
        )
        tensors = {name: tensor.float().cpu().contiguous() for name, tensor in _tensors(autoencoder).items()}
        write_tensors(temporary / "sae_weights.safetensors", tensors)


def load_dictionary(folder: Path, *, device: torch.device | str = "cpu") -> SavedDictionary:
    """Read a dictionary folder.

    Raises DamagedError when a file is missing, truncated or of other shapes than it says, FormatError when it is of
    an architecture that is not supported.
    """
    config_file = folder / "cfg.json"
    if not config_file.is_file():
        raise DamagedError(f"{folder} holds no cfg.json: it is no dictionary, or was only partly copied")
    config = read_json(config_file)
    tensors = read_tensors(folder / "sae_weights.safetensors")
    try:
        width, features = int(config["d_in"]), int(config["d_sae"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{config_file} lacks the numbers d_in and d_sae: it is not a SAELens dictionary") from error
    variant, (transcodes, skip) = _variant(config, config_file), _kind(config)
    autoencoder = build(
        variant,
        width=width,
        features=features,
        output_width=int(config["d_out"]) if transcodes else None,
        skip=skip,
        device=device,
    )
    if not transcodes:
        autoencoder.centred = bool(config.get("apply_b_dec_to_input"))
    for name, expected in _tensors(autoencoder).items():
        shape = tuple(expected.shape)
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if found != shape:
            raise DamagedError(f"{folder}/sae_weights.safetensors holds {name} {found}, and cfg.json says {shape}")
        if not torch.isfinite(tensors[name]).all():
            raise DamagedError(f"{folder}/sae_weights.safetensors holds {name} with values that are not finite")
    _copy(autoencoder, tensors)
    return SavedDictionary(autoencoder, config.get("metadata") or {})


@torch.no_grad()
def _copy(autoencoder: SparseAutoencoder, tensors: Mapping[str, Tensor]) -> None:
    for name, place in _tensors(autoencoder).items():
        found = tensors[name]
        # BatchTopK has one threshold, which files repeat for every feature.
        place[:1].copy_(found[:1]) if place.stride(0) == 0 else place.copy_(found)


def _tensors(autoencoder: SparseAutoencoder) -> dict[str, Tensor]:
    """What a file holds, by SAELens' names: views of the parameters."""
    tensors = {
        "W_enc": autoencoder.W_enc_FD.T,
        ("b_gate" if isinstance(autoencoder, Gated) else "b_enc"): autoencoder.b_enc_F,
        "W_dec": autoencoder.W_dec_FO,
        "b_dec": autoencoder.b_dec_O,
    }
    if autoencoder.W_skip_OD is not None:
        tensors["W_skip"] = autoencoder.W_skip_OD
    match autoencoder:
        case BatchTopKAutoencoder():
            tensors["threshold"] = autoencoder.threshold.expand(autoencoder.features)
        case JumpReLU():
            tensors["threshold"] = autoencoder.threshold_F
        case Gated():
            tensors |= {"r_mag": autoencoder.r_mag_F, "b_mag": autoencoder.b_mag_F}
        case KL():
            tensors["amplitude"] = autoencoder.amplitude_F
        case _:
            pass
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _architecture(autoencoder: SparseAutoencoder) -> dict[str, Any]:
    """How a file calls the architecture, with the settings that belong to it."""
    settings: dict[str, Any] = {}
    match autoencoder:
        case TopKAutoencoder():
            name, settings = "topk", {"k": autoencoder.config.k, "rescale_acts_by_decoder_norm": False}
        case BatchTopKAutoencoder() | JumpReLU():
            # At inference BatchTopK is a JumpReLU with one threshold for all features.
            name = "jumprelu"
        case Gated():
            name = "gated"
        case L1():
            name = "standard"
        case KL():
            name, settings = "kl", {"cutoff": autoencoder.config.cutoff}
        case _:
            raise FormatError(f"there is no file format for {type(autoencoder).__name__}")
    if autoencoder.shape.output_width is not None:
        parts = [*([] if name == "standard" else [name]), *(["skip"] if autoencoder.shape.skip else []), "transcoder"]
        name, settings = "_".join(parts), settings | {"d_out": autoencoder.output_width}
    return {"architecture": name, **settings}


def _remarks(autoencoder: SparseAutoencoder) -> dict[str, Any]:
    """What the architecture of the file does not tell of the variant."""
    if isinstance(autoencoder, BatchTopKAutoencoder):
        return {"training_architecture": "batchtopk", "k": autoencoder.config.k}
    return {}


def _kind(config: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a file holds a transcoder, and whether it has a skip connection."""
    name = str(config.get("architecture"))
    return name.endswith("transcoder"), name.endswith("skip_transcoder")


def _variant(config: Mapping[str, Any], file: Path) -> VariantConfig:
    architecture, metadata = str(config.get("architecture")), config.get("metadata") or {}
    match architecture.removesuffix("transcoder").removesuffix("_").removesuffix("skip").removesuffix("_"):
        case "jumprelu" if metadata.get("training_architecture") == "batchtopk" and "k" in metadata:
            return BatchTopKConfig(k=int(metadata["k"]))
        case "jumprelu":
            return JumpReLUConfig()
        case "topk" if not config.get("rescale_acts_by_decoder_norm"):
            return TopKConfig(k=int(config["k"]))
        case "gated":
            return GatedConfig()
        case "standard" | "":
            return L1Config()
        case "kl":
            return KLConfig(cutoff=float(config["cutoff"]))
        case _:
            raise FormatError(
                f"{file} describes a dictionary of architecture {architecture!r}: readable here are standard, topk "
                "(without rescaling by the decoder's norm), jumprelu, gated, kl, and transcoders of these"
            )
