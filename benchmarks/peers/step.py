"""A peer's own training step over the time of the encoder's matrix product alone; one JSON object a case.

    .venv-peers/bin/python benchmarks/peers/step.py --features 16384 --batch 4096 --width 576 --l0 32

The peer's whole training loop runs, on the same batch again and again; its step is what it does from the moment it is
handed a batch to the moment it asks for the next. Before every batch the matrix product is timed, in the same process:
``ratio`` is the median of step over product. `make peers` makes the environment. The cases are those of
`benchmarks/step.py`; for l1 (standard), jumprelu and gated the biases or thresholds are set so that about the wanted
number of features is active, and ``l0`` is measured after the last step; the dense steps of the peers do not notice.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from common import PEERS, VARIANTS, Batches, Case, fit, version
from torch import Tensor

WARM_UP = 2
# Their step selects l0 features whatever the weights are. What batchtopk does afterwards hangs on a running threshold
# that a few steps do not settle.
SELECT_L0 = {"topk", "topk-adam", "batchtopk", "matryoshka"}


class TimedBatches(Batches):
    """The same activations again and again; before each, the encoder's product."""

    def __init__(self, x_BD: Tensor, features: int) -> None:
        self.x_BD = x_BD
        self.W_enc_FD = torch.randn(features, x_BD.shape[1]) / x_BD.shape[1] ** 0.5
        self.product_BF = torch.empty(len(x_BD), features)
        self.product_seconds: list[float] = []
        self.step_seconds: list[float] = []
        self.handed_out: float | None = None

    def __next__(self) -> Tensor:
        asked = time.perf_counter()
        if self.handed_out is not None:
            self.step_seconds.append(asked - self.handed_out)
        batch_BD = self.x_BD.clone()
        start = time.perf_counter()
        with torch.no_grad():
            torch.mm(self.x_BD, self.W_enc_FD.T, out=self.product_BF)
        self.handed_out = time.perf_counter()
        self.product_seconds.append(self.handed_out - start)
        return batch_BD


def measure(peer: str, variant: str, features: int, batch: int, width: int, l0: int, repeats: int) -> dict[str, Any]:
    """Times and ratio of one case."""
    x_BD = torch.randn(batch, width, generator=torch.Generator().manual_seed(0))
    batches = TimedBatches(x_BD, features)
    # One step more than is measured: the last has no next batch to end it.
    steps = WARM_UP + repeats + 1
    trained = fit(peer, Case(variant, width, features, l0, batch, steps, ready_BD=x_BD[:256]), batches)
    measured = slice(WARM_UP, WARM_UP + repeats)
    products, own = batches.product_seconds[measured], batches.step_seconds[measured]
    ratios = [s / p for s, p in zip(own, products, strict=True)]
    return {
        "peer": peer,
        "version": version(peer),
        "variant": variant,
        "features": features,
        "batch": batch,
        "width": width,
        "l0": l0 if variant in SELECT_L0 else round(trained.dictionary.l0(x_BD[:1024]), 1),
        "threads": torch.get_num_threads(),
        "product_ms": round(1e3 * statistics.median(products), 1),
        "step_ms": round(1e3 * statistics.median(own), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "tokens_per_second": round(batch / statistics.median(own)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every_variant = list(dict.fromkeys(variant for variants in VARIANTS.values() for variant in variants))
    parser.add_argument("--peer", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--variant", nargs="+", default=every_variant, choices=every_variant)
    parser.add_argument("--features", nargs="+", type=int, default=[8192, 16_384])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for features in options.features:
        for peer in options.peer:
            for variant in [variant for variant in VARIANTS[peer] if variant in options.variant]:
                case = measure(peer, variant, features, options.batch, options.width, options.l0, options.repeats)
                print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
