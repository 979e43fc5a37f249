"""Reads the dictionaries of `write_dictionaries.py` with SAELens and compares what it computes: `make compat`.

    python tests/compat/read_with_saelens.py FOLDER

Runs where SAELens is installed and Semascope is not. Prints one line a dictionary; exits with 1 when one differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import sae_lens
import torch
from safetensors.torch import load_file


@torch.no_grad()
def check(folder: Path) -> None:
    """Print the largest absolute differences. Raises AssertionError when they are more than rounding."""
    sae = sae_lens.SAE.load_from_disk(folder)
    expected = load_file(folder.with_suffix(".safetensors"))
    codes_BF = sae.encode(expected["x_BD"])
    found = {"codes_BF": codes_BF, "reconstruction_BO": sae(expected["x_BD"])}
    differences = [f"{name} {(tensor - expected[name]).abs().max():.1e}" for name, tensor in found.items()]
    print(f"{folder.name}: {type(sae).__name__}, largest absolute differences: {', '.join(differences)}")
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name])
    # From a cfg.json whose metadata names no release, SAELens drops the metadata without a word.
    metadata = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["metadata"]
    for key, value in {**metadata, "sae_lens_version": sae_lens.__version__}.items():
        assert sae.cfg.metadata[key] == value, f"metadata {key} is {sae.cfg.metadata[key]!r}, expected {value!r}"


def main(folder: Path) -> int:
    dictionaries = [file.parent for file in sorted(folder.glob("*/cfg.json"))]
    print(f"SAELens {sae_lens.__version__}, torch {torch.__version__}: {len(dictionaries)} dictionaries")
    failures = 0
    for dictionary in dictionaries:
        try:
            check(dictionary)
        except AssertionError as error:
            failures += 1
            print(f"{dictionary.name}: MISMATCH: {error}")
    return int(failures > 0 or not dictionaries)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
