"""Trains a dictionary on stored activations with one peer's own code and recommended settings.

    .venv-peers/bin/python benchmarks/peers/train.py --peer saelens --variant batchtopk --activations FILE \\
        --tokens 20000000 --features 16384 --l0 32 --seed 0 --out dictionary.safetensors

The L0 is what is asked for in topk, batchtopk and matryoshka, the aim of SAELens' jumprelu-quadratic and of
dictionary_learning's jumprelu, and elsewhere what the recipe's penalty, or --sparsity, leads to. Without --batch a
batch is the peer's own: 65,536 for sparsify, which makes few steps of a short training.

FILE is a safetensors file with ``activations`` [N, D]. They are drawn in random permutations, a fresh one for every
pass. Written are OUT, with ``W_enc`` [F, D], ``b_enc`` [F], ``W_dec`` [F, D], ``b_dec`` [D], ``threshold`` [F] where
there is one and the rest as metadata (`common.Dictionary` says what they mean and reads them), and beside it a .json
with the time of the training alone, which also goes to stdout. The weights take activations in the units of FILE; that
they compute what the peer itself computes is checked before this ends.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import BATCH, PEERS, VARIANTS, Batches, Case, Dictionary, Trained, fit, version
from safetensors import safe_open
from torch import Tensor

CHECKED_ROWS = 512


class ShuffledBatches(Batches):
    """Stored activations in random order, pass after pass."""

    def __init__(self, activations_ND: Tensor, batch: int, seed: int) -> None:
        self.activations_ND = activations_ND
        self.batch = batch
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.long)

    def __next__(self) -> Tensor:
        while len(self.order) < self.batch:
            fresh = torch.randperm(len(self.activations_ND), generator=self.generator)
            self.order = torch.cat([self.order, fresh])
        rows, self.order = self.order[: self.batch], self.order[self.batch :]
        return self.activations_ND[rows].float()


def check(trained: Trained, written: Dictionary, x_BD: Tensor) -> None:
    """Raise where the written weights and the peer's own forward differ by more than rounding.

    A pre-activation within rounding of the selection's edge may fall on either side, so one row in a hundred may.
    """
    with torch.no_grad():
        expected_BD = trained.forward(x_BD)
    error_B = (written.reconstruct(x_BD) - expected_BD).norm(dim=-1) / expected_BD.norm(dim=-1)
    if (worst := error_B.quantile(0.99).item()) > 1e-4:
        raise SystemExit(f"The written weights differ from the peer's own forward by {worst:.1e}, relative.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, choices=list(PEERS))
    parser.add_argument("--variant", required=True, help=f"one of the peer's: {VARIANTS}")
    parser.add_argument("--activations", required=True, type=Path)
    parser.add_argument("--tokens", required=True, type=int)
    parser.add_argument("--features", required=True, type=int)
    parser.add_argument("--l0", required=True, type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="default: the peer's own")
    parser.add_argument("--sparsity", type=float, help="weight of the L1 or L0 penalty; default: the recipe's")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    if options.variant not in VARIANTS[options.peer]:
        parser.error(f"{options.peer} has {', '.join(VARIANTS[options.peer])}, not {options.variant}")

    with safe_open(options.activations, "pt") as opened:
        activations_ND = opened.get_tensor("activations")
    batch = options.batch or BATCH[options.peer]
    case = Case(
        variant=options.variant,
        width=activations_ND.shape[1],
        features=options.features,
        l0=options.l0,
        batch=batch,
        steps=max(1, options.tokens // batch),
        seed=options.seed,
        sparsity=options.sparsity,
    )
    trained = fit(options.peer, case, ShuffledBatches(activations_ND, batch, options.seed))

    trained.dictionary.save(options.out)
    written = Dictionary.load(options.out)
    x_BD = activations_ND[torch.randperm(len(activations_ND))[:CHECKED_ROWS]].float()
    check(trained, written, x_BD)
    tokens = case.steps * batch
    report = {
        "peer": options.peer,
        "version": version(options.peer),
        "variant": options.variant,
        "tokens": tokens,
        "features": options.features,
        "batch": batch,
        "seed": options.seed,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(tokens / trained.seconds),
        "centred": written.centred,
        "activation": written.activation,
        "k": written.k,
        "l0": round(written.l0(x_BD), 2),
        "settings": trained.settings,
    }
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
