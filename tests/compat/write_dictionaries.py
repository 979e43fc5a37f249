"""Saves one dictionary of every architecture that SAELens has, with what Semascope computes from it: `make compat`.

    python tests/compat/write_dictionaries.py FOLDER

writes FOLDER/NAME/ (the dictionary) and FOLDER/NAME.safetensors (``x_BD``, ``codes_BF``,
``reconstruction_BO``) for `read_with_saelens.py`, which runs without Semascope.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from semascope.files import write_tensors
from semascope.records import Site
from semascope.sae import VARIANTS, SparseAutoencoder, VariantConfig, build, hook_name, save_dictionary

WIDTH, OUTPUT_WIDTH, FEATURES, ROWS = 48, 40, 256, 64
VARIANTS_OF_KINDS = {
    "autoencoder": ["l1", "topk", "batchtopk", "jumprelu", "gated"],
    "transcoder": ["l1", "batchtopk", "jumprelu"],
    "skip": ["l1", "batchtopk", "jumprelu"],
}


def random_dictionary(config: VariantConfig, kind: str, generator: torch.Generator) -> SparseAutoencoder:
    """A folded dictionary in which no bias is zero and no encoder the decoder's transpose, so that a mix-up shows."""
    output_width = None if kind == "autoencoder" else OUTPUT_WIDTH
    autoencoder = build(config, width=WIDTH, features=FEATURES, output_width=output_width, skip=kind == "skip")
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.normal_(std=WIDTH**-0.5, generator=generator)
    return autoencoder.folded(scale=0.25)


def main(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for kind, variant in [(kind, variant) for kind, variants in VARIANTS_OF_KINDS.items() for variant in variants]:
        name = f"{variant}-{kind}"
        autoencoder = random_dictionary(VARIANTS[variant](), kind, generator)
        x_BD = torch.randn(ROWS, WIDTH, generator=generator) + 0.5
        codes = autoencoder.encode(x_BD)
        metadata = {"model_name": "gpt2", "hook_name": hook_name(Site(5)), "context_size": 128, "prepend_bos": False}
        save_dictionary(autoencoder, folder / name, metadata)
        write_tensors(
            folder / f"{name}.safetensors",
            {"x_BD": x_BD, "codes_BF": codes.to_dense(), "reconstruction_BO": autoencoder.predict(x_BD, codes)},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
