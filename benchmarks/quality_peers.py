"""The peers in `quality.py`: which of their trainings stand beside ours, how they run, and what they leave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.common import BATCH, VARIANTS, Dictionary
from sparsity_search import Search

from semascope.files import read_json, write_json
from semascope.sae import JumpReLUConfig, L1Config, SparseAutoencoder, TopKConfig, VariantConfig, build

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"

# Which of our variants has another name there.
THEIR_NAME = {"l1": "standard"}
# Besides the variant of the same name with the peer's own batch: at our batch, or by another recipe.
ALSO = {
    "topk": (("sparsify", "topk", True), ("sparsify", "topk-adam", True)),
    "jumprelu": (("saelens", "jumprelu-quadratic", False),),
}
# Their L0 is the one asked for by construction.
EXACT = {"topk", "topk-adam", "batchtopk", "matryoshka"}
# What the peers call the weight of their penalty.
WEIGHTS = ("l1_coefficient", "l0_coefficient", "l1_penalty", "sparsity_penalty")

# How many trainings may look for the weight, the recipe's own among them.
TRIALS = 7
# By this factor from the L0 asked for, a weight is no better than the recipe's own, which is then taken.
FAR = 2.0


class PeerError(Exception):
    """A peer's training did not end well."""


@dataclass(frozen=True)
class PeerCase:
    """A peer's training: its name for the variant, and the batch in tokens."""

    peer: str
    variant: str
    batch: int

    def called(self, version: str) -> str:
        """What the table calls it."""
        recipe = "" if "-" not in self.variant else f" ({self.variant.partition('-')[2]})"
        return f"{self.peer} {version}{recipe}"


def cases_of(variant: str, peers: Sequence[str], our_batch: int) -> list[PeerCase]:
    """What the peers have of a variant."""
    theirs = THEIR_NAME.get(variant, variant)
    own = [PeerCase(peer, theirs, BATCH[peer]) for peer in peers if theirs in VARIANTS[peer]]
    also = [(peer, name, at_ours) for peer, name, at_ours in ALSO.get(variant, ()) if peer in peers]
    return own + [PeerCase(peer, name, our_batch if at_ours else BATCH[peer]) for peer, name, at_ours in also]


def as_autoencoder(found: Dictionary) -> SparseAutoencoder:
    """A peer's dictionary as one of ours that computes the same."""
    config: VariantConfig = L1Config()
    tensors = {
        "W_enc_FD": found.W_enc_FD,
        "b_enc_F": found.b_enc_F,
        "W_dec_FO": found.W_dec_FD,
        "b_dec_O": found.b_dec_D,
    }
    if found.k is not None:
        config = TopKConfig(k=found.k)
    elif found.threshold_F is not None:
        config = JumpReLUConfig()
        tensors["threshold_F"] = found.threshold_F
    features, width = found.W_enc_FD.shape
    autoencoder = build(config, width=width, features=features)
    # What it has besides, such as the state of a controller, only training reads.
    unknown = autoencoder.load_state_dict(tensors, strict=False).unexpected_keys
    assert not unknown
    autoencoder.centred = found.centred
    return autoencoder


@dataclass(frozen=True)
class Peers:
    """Trains them in their own environment, on a file of activations; keeps everything in a folder."""

    folder: Path
    activations: Path
    tokens: int
    features: int
    l0: int

    def train(self, case: PeerCase, seed: int, weight: float | None) -> tuple[dict[str, Any], Dictionary]:
        """The report of `peers/train.py` and the dictionary. Raises PeerError when the training fails."""
        report = self._report(case, seed, weight)
        return report, Dictionary.load(self._file(case, seed, weight))

    def weight(self, case: PeerCase) -> tuple[float | None, int]:
        """The weight of the penalty that gives the L0 (None: the recipe's own), and how many trainings the search took.

        The search is made of whole trainings, with the first seed: what a shorter one ends with says next to nothing.
        At one weight, 24 steps of dictionary_learning's gated led to an L0 of 35 and 97 steps to one of 0.7.
        """
        if case.variant in EXACT:
            return None, 0
        file = self.folder / f"weight-{case.peer}-{case.variant}-b{case.batch}.json"
        if not file.exists():
            write_json(file, self._search(case))
        found = read_json(file)
        return found["weight"], found["trainings"]

    def _search(self, case: PeerCase) -> dict[str, Any]:
        recipe = self._report(case, 0, None)
        start = next(float(recipe["settings"][name]) for name in WEIGHTS if name in recipe["settings"])
        search = Search(lambda weight: self._report(case, 0, weight)["l0"], {start: recipe["l0"]})
        best = search.weight_for(self.l0, start=start, trials=TRIALS)
        near = 1 / FAR < search.tried[best] / self.l0 < FAR
        return {
            "weight": best if near and best != start else None,
            "trainings": len(search.tried) - 1,  # The recipe's own would have been made anyway.
            "l0": {f"{weight:g}": l0 for weight, l0 in search.tried.items()},
        }

    def _file(self, case: PeerCase, seed: int, weight: float | None) -> Path:
        weighted = "" if weight is None else f"-w{weight:g}"
        return self.folder / f"{case.peer}-{case.variant}-b{case.batch}{weighted}-s{seed}.safetensors"

    def _report(self, case: PeerCase, seed: int, weight: float | None) -> dict[str, Any]:
        """Train, unless that has been done."""
        file = self._file(case, seed, weight)
        if not file.with_suffix(".json").exists():
            print(f"training {file.stem}", file=sys.stderr, flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            arguments: dict[str, Any] = {
                "peer": case.peer,
                "variant": case.variant,
                "activations": self.activations,
                "tokens": self.tokens,
                "features": self.features,
                "l0": self.l0,
                "seed": seed,
                "batch": case.batch,
                "out": file,
            }
            if weight is not None:
                arguments["sparsity"] = weight
            command = [PEERS_PYTHON, ROOT / "benchmarks" / "peers" / "train.py"]
            command += [f"--{name}={value}" for name, value in arguments.items()]
            log = file.with_suffix(".log")
            with log.open("w", encoding="utf-8") as errors:
                finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=errors, check=False)
            if finished.returncode:
                raise PeerError(f"its training failed, see {log}")
        return read_json(file.with_suffix(".json"))
