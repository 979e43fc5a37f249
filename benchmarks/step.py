"""A whole training step over the time of the encoder's matrix product alone; prints one JSON object a case.

    python benchmarks/step.py --variant topk --features 16384 65536 --batch 4096 --width 576 --l0 32 --peers
    python benchmarks/step.py --device cuda --precision fast --features 65536 --batch 8192 --width 2304 --l0 64 \\
        --variant topk

The step is everything between a batch in hand and updated parameters: loss, gradients, clipping, Adam, unit rows,
firing record and statistics, as in `semascope.training.train`. The matrix product is that of the encoder on the same
batch: on a CPU in float32, whatever the step's precision; on a GPU in the step's, bfloat16 for "fast". Both are timed
in one process, in turn; ``ratio`` is the median of the step's time over the product's. ``touched``: the share of the
features that the last batch touched, whose rows the optimizer moves. ``peak_gb``: the most memory that the process has
held so far, on a GPU what PyTorch has held there in this case for all but the product alone, in GiB.
docs/ARCHITECTURE.md has what a step must read and write on a GPU. With --peers the
training steps of SAELens, sparsify and dictionary_learning follow, each in its own code and over its own product, from
the environment that 'make peers' makes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch

from semascope.kernels import Precision
from semascope.records import Codes
from semascope.sae import (
    MATRYOSHKA_PREFIXES,
    VARIANTS,
    BatchTopKConfig,
    Moment,
    SparseAutoencoder,
    VariantConfig,
    build,
)
from semascope.training.firing import FiringRecord
from semascope.training.metrics import Meter
from semascope.training.optimizer import RowAdam

PRODUCT_FEATURES = 1 << 16

# Matryoshka is a setting of any variant.
CASES: dict[str, VariantConfig] = {
    **{name: config() for name, config in VARIANTS.items()},
    "matryoshka": BatchTopKConfig(prefixes=MATRYOSHKA_PREFIXES),
}


def prepared(variant: str, x_BD: torch.Tensor, features: int, l0: int) -> SparseAutoencoder:
    """An initialised autoencoder with about ``l0`` active features a token."""
    autoencoder = build(CASES[variant].with_l0(l0), width=x_BD.shape[1], features=features, device=x_BD.device)
    autoencoder.initialize(x_BD, x_BD, torch.Generator().manual_seed(0))
    return autoencoder


def measure(
    variant: str, precision: Precision, features: int, batch: int, width: int, l0: int, repeats: int, device: str
) -> dict[str, Any]:
    """Times and ratio of one case."""
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(batch, width, generator=generator).to(device)
    on_gpu = x_BD.is_cuda
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    autoencoder = prepared(variant, x_BD, features, l0)
    autoencoder.precision = precision
    optimizer = RowAdam(
        autoencoder.named_parameters(), unit_rows=autoencoder.unit_rows, rate_factors=autoencoder.rate_factors
    )
    firing, meter = FiringRecord(features, device=device), Meter()
    # The product of a wide dictionary goes by parts, so that it fits into memory.
    parts = [slice(first, first + PRODUCT_FEATURES) for first in range(0, features, PRODUCT_FEATURES)]
    # On a GPU the weights' conversion is part of the step alone, and so is every size but that of one product.
    dtype = torch.bfloat16 if on_gpu and precision == "fast" else torch.float32
    factor_BD, W_enc_FD = x_BD.to(dtype), autoencoder.W_enc_FD.detach().to(dtype)
    product_BP = torch.empty(batch, min(features, PRODUCT_FEATURES), dtype=dtype, device=device)
    active: list[Codes] = []

    def product() -> None:
        for part in parts:
            torch.mm(factor_BD, W_enc_FD[part].T, out=product_BP[:, : len(W_enc_FD[part])])

    def step() -> None:
        losses = autoencoder.loss(x_BD, Moment(0.5))
        losses.total.backward()
        # A rate of zero keeps the case as it was prepared; Adam does the same work.
        norm = optimizer.step(0.0)
        firing.update(losses.codes)
        meter.add(x_BD, losses, norm)
        active[:] = [losses.codes]

    seconds: dict[Callable[[], None], list[float]] = {product: [], step: []}
    for repeat in range(repeats + 2):
        for function, times in seconds.items():
            elapsed = timed(function, on_gpu)
            if repeat >= 2:
                times.append(elapsed)
    ratios = [s / p for s, p in zip(seconds[step], seconds[product], strict=True)]
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    if on_gpu:
        copies = [factor_BD, W_enc_FD] if dtype != torch.float32 else []
        peak_bytes = torch.cuda.max_memory_allocated(device) - sum(t.nbytes for t in (product_BP, *copies))
    return {
        "variant": variant,
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "precision": precision,
        "features": features,
        "batch": batch,
        "width": width,
        "l0": round(active[0].values.shape[0] / batch, 1),
        "touched": round(len(active[0].feature_ids.unique()) / features, 2),
        "threads": torch.get_num_threads(),
        "product_ms": round(1e3 * statistics.median(seconds[product]), 1),
        "step_ms": round(1e3 * statistics.median(seconds[step]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "tokens_per_second": round(batch / statistics.median(seconds[step])),
        "peak_gb": round(peak_bytes / 2**30, 2),
    }


def timed(function: Callable[[], None], on_gpu: bool) -> float:
    """The seconds that a call takes; on a GPU by the device's own clock, from an idle device to an idle device."""
    if not on_gpu:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return 1e-3 * start.elapsed_time(end)


def run_peers(options: argparse.Namespace) -> None:
    """Let the peers' benchmark print its lines, at the same sizes."""
    python = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
    if not python.exists():
        raise SystemExit("the peers' environment is missing: run 'make peers' first")
    for features in options.features:
        sizes = {"features": features, "batch": options.batch, "width": options.width, "l0": options.l0}
        arguments = [f"--{name}={size}" for name, size in (sizes | {"repeats": min(3, options.repeats)}).items()]
        subprocess.run([python, Path(__file__).parent / "peers" / "step.py", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--precision", nargs="+", default=["full", "fast"], choices=["full", "fast"])
    parser.add_argument("--features", nargs="+", type=int, default=[16_384, 65_536])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--peers", action="store_true", help="also time the peers' steps")
    options = parser.parse_args()
    for features in options.features:
        for variant in options.variant:
            for precision in options.precision:
                shape = (features, options.batch, options.width, options.l0)
                line = measure(variant, precision, *shape, options.repeats, options.device)
                print(json.dumps(line), flush=True)
    if options.peers:
        run_peers(options)


if __name__ == "__main__":
    main()
