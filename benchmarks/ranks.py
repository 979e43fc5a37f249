"""What several processes exchange at each step, and how long a step takes them; prints one JSON object a case.

    python benchmarks/ranks.py --ranks 1 2 3 --variant topk batchtopk --features 16384 --batch 4096 --width 576 --l0 32

A step is that of `semascope.training`: loss, gradients, clipping, Adam, firing record, statistics. ``bytes_per_token``:
what one process receives, by kind of exchange, counted from the tensors (an all-reduce over n processes as 2 (n − 1) /
n times its tensor), over the tokens of the batch. ``formula``: the large ones of them as `semascope.estimate` counts
them, where no feature is dead. ``grown_gb``: by how much the first process's peak of memory grew with its part of the
dictionary and the steps, in GB of 10⁹ bytes, and ``grown_formula`` what `semascope.estimate` counts for it. Processes
of one machine share its cores, so times on a small one say little about many.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from semascope.config import RunConfig
from semascope.estimate.memory import Sizes, stage_memory
from semascope.estimate.step import StepShape, exchanged_bytes, touched_features
from semascope.sae import VARIANTS
from semascope.training import Columns, Trainer, TrainingConfig
from semascope.training.distributed import Mesh, joined


def measure(variant: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """One case, in this process among those of its team; what the first one saw."""
    torch.set_num_threads(options.threads)
    config = TrainingConfig(
        variant=VARIANTS[variant]().with_l0(options.l0), features=options.features, batch_tokens=options.batch
    )
    x_BD = torch.randn(options.batch, options.width, generator=torch.Generator().manual_seed(0))
    before = held_bytes()
    with joined(data_parallel=options.data_parallel) as team, tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Columns(slice(0, options.width)), folder=Path(folder), team=team)
        trainer.initialize(x_BD)
        trainer.begin(after_step=0)
        seconds: list[float] = []
        received: dict[str, float] = {}
        for step in range(options.steps + 2):
            if isinstance(team, Mesh):
                team.bytes_received.clear()
            start = time.perf_counter()
            trainer.step(x_BD, step)
            if step >= 2:
                seconds.append(time.perf_counter() - start)
        if isinstance(team, Mesh):
            received = dict(team.bytes_received)
        team.wait()
        parts, rows, grown = team.feature_parts, team.row_parts, held_bytes()
    if not team.first:
        return None
    own_l0, own_features = options.l0 / parts, options.features / parts
    shape = StepShape(
        options.batch / rows, own_features, options.width, options.width, options.l0, own_l0,
        touched_features(own_features, options.batch * own_l0), fast=trainer.config.precision == "fast",
    )  # fmt: skip
    counted = exchanged_bytes(shape, config.variant, parts, rows)
    held = stage_memory(
        RunConfig(site="resid_post.0", training=config), Sizes(0, 0, 0, 0, 0), shape,
        stored_width=options.width, tokens_per_pass=0, on_gpu=False,
    )["train"]  # fmt: skip
    return {
        "variant": variant,
        "ranks": team.size,
        "data_parallel": rows,
        "features": options.features,
        "batch": options.batch,
        "width": options.width,
        "l0": options.l0,
        "threads": options.threads,
        "step_ms": round(1e3 * statistics.median(seconds), 1),
        "bytes_per_token": {kind: round(count / options.batch, 1) for kind, count in received.items()},
        "formula": {name: round(count / options.batch, 1) for name, count in counted.items()},
        "grown_gb": round((grown - before) / 1e9, 2),
        "grown_formula": round(sum(held[name] for name in ("weights", "moments", "gradients", "activations")) / 1e9, 2),
        "tokens_per_second": round(options.batch / statistics.median(seconds)),
    }


def held_bytes() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def process(rank: int, size: int, port: int, variant: str, options: argparse.Namespace) -> None:
    """One process of a team, with what torchrun would tell it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if result := measure(variant, options):
        print(json.dumps(result), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--data-parallel", type=int, default=1)
    parser.add_argument("--variant", nargs="+", default=["topk", "batchtopk", "l1"], choices=list(VARIANTS))
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    for variant in options.variant:
        for size in options.ranks:
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                port = found.getsockname()[1]
            team = [
                processes.Process(target=process, args=(rank, size, port, variant, options)) for rank in range(size)
            ]
            for member in team:
                member.start()
            for member in team:
                member.join()
            if any(member.exitcode for member in team):
                raise SystemExit(f"{variant} in {size} processes failed")


if __name__ == "__main__":
    main()
