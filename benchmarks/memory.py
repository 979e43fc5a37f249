"""The most memory that a training holds, beside what it cannot do without; prints one JSON object a size.

    python benchmarks/memory.py --variant topk --features 16384 65536 1048576 --batch 4096 --width 576 --l0 32

A `Trainer` starts from a sample and learns from batches of random activations, with everything that happens in a
training but the writing of checkpoints. Each size runs in a process of its own. ``bound_gb`` is what a training cannot
do without, in GiB: parameters, their two moments of Adam, the gradients of the rows that a batch touches, and 1 GiB
for everything else, the interpreter and its libraries included. ``peak_gb`` is the most that the process held.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from step import CASES

from semascope.training import Columns, Trainer, TrainingConfig

WARM_UP = 2


def measure(
    variant: str, precision: str, features: int, batch: int, width: int, l0: int, steps: int, folder: Path
) -> dict[str, Any]:
    """Train for some steps in this process, and say how much memory that took."""
    config = TrainingConfig.model_validate(
        {
            "variant": CASES[variant].with_l0(l0).model_dump(),
            "features": features,
            "tokens": (steps + WARM_UP) * batch,
            "batch_tokens": batch,
            "precision": precision,
        }
    )
    generator = torch.Generator().manual_seed(0)
    trainer = Trainer(config, Columns(slice(0, width)), folder=folder)
    started = time.perf_counter()
    trainer.initialize(torch.randn(16_384, width, generator=generator))
    initialize_s = time.perf_counter() - started
    trainer.begin(after_step=0)
    seconds: list[float] = []
    for step in range(steps + WARM_UP):
        x_BD = torch.randn(batch, width, generator=generator)
        started = time.perf_counter()
        trainer.step(x_BD, step)
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    figures = trainer.end_interval(steps + WARM_UP, tokens_per_second=0.0)

    parameters = sum(p.numel() * p.element_size() for p in trainer.autoencoder.parameters())
    touched = min(features, round(batch * figures["l0"])) * 2 * width * 4
    return {
        "variant": variant,
        "precision": trainer.config.precision,
        "features": features,
        "batch": batch,
        "width": width,
        "l0": round(figures["l0"], 1),
        "threads": torch.get_num_threads(),
        "initialize_s": round(initialize_s, 1),
        "step_ms": round(1e3 * statistics.median(seconds), 1),
        "tokens_per_second": round(batch / statistics.median(seconds)),
        "parameters_gb": round(parameters / 2**30, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "bound_gb": round((3 * parameters + touched) / 2**30 + 1, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["topk"], choices=list(CASES))
    parser.add_argument("--precision", default="auto", choices=["auto", "full", "fast"])
    parser.add_argument("--features", nargs="+", type=int, default=[16_384, 65_536, 1_048_576])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    if len(options.features) * len(options.variant) == 1:
        with tempfile.TemporaryDirectory() as folder:
            [variant], [features] = options.variant, options.features
            shape = (features, options.batch, options.width, options.l0)
            print(json.dumps(measure(variant, options.precision, *shape, options.steps, Path(folder))), flush=True)
        return
    shared = [f"--{name}={getattr(options, name)}" for name in ("precision", "batch", "width", "l0", "steps")]
    for features in options.features:
        for variant in options.variant:
            case = [f"--features={features}", f"--variant={variant}"]
            subprocess.run([sys.executable, __file__, *case, *shared], check=True)


if __name__ == "__main__":
    main()
