"""Saves one dictionary of every variant, with inputs and what Semascope computes from them: `make compat`.

    python tests/compat/write_dictionaries.py FOLDER

writes FOLDER/VARIANT/ (the dictionary) and FOLDER/VARIANT.safetensors (``x_BD``, ``codes_BF``,
``reconstruction_BD``) for `read_with_saelens.py`, which runs without Semascope.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from semascope.files import write_tensors
from semascope.records import Site
from semascope.sae import VARIANTS, SparseAutoencoder, VariantConfig, build, hook_name, save_dictionary

WIDTH, FEATURES, ROWS = 48, 256, 64


def random_dictionary(config: VariantConfig, generator: torch.Generator) -> SparseAutoencoder:
    """A folded dictionary in which no bias is zero and no encoder the decoder's transpose, so that a mix-up shows."""
    autoencoder = build(config, width=WIDTH, features=FEATURES)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.normal_(std=WIDTH**-0.5, generator=generator)
    return autoencoder.folded(scale=0.25)


def main(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, config_class in VARIANTS.items():
        autoencoder = random_dictionary(config_class(), generator)
        x_BD = torch.randn(ROWS, WIDTH, generator=generator) + 0.5
        codes = autoencoder.encode(x_BD)
        metadata = {"model_name": "gpt2", "hook_name": hook_name(Site(5)), "context_size": 128, "prepend_bos": False}
        save_dictionary(autoencoder, folder / name, metadata)
        write_tensors(
            folder / f"{name}.safetensors",
            {"x_BD": x_BD, "codes_BF": codes.to_dense(), "reconstruction_BD": autoencoder.decode(codes)},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
