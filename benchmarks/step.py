"""A whole training step over the time of the encoder's matrix product alone; prints one JSON object a case.

    python benchmarks/step.py --variant topk --features 8192 16384 --batch 4096 --width 576 --l0 32

The step is everything between a batch in hand and updated parameters: loss, gradients, projection, clipping, Adam,
constraint, firing record and statistics, as in `semascope.training.train`. The matrix product is that of the encoder on
the same batch. Both are timed in one process, in turn; ``ratio`` is the median of the step's time over the product's.
For l1 the encoder's bias is lowered until the wanted number of features is active, as late in a training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from semascope.sae import L1Config, Moment, SparseAutoencoder, TopKConfig, build
from semascope.training.firing import FiringRecord
from semascope.training.metrics import Meter


def prepared(variant: str, x_BD: torch.Tensor, features: int, l0: int) -> SparseAutoencoder:
    """An initialised autoencoder with about ``l0`` active features a token."""
    config = TopKConfig(k=l0) if variant == "topk" else L1Config()
    autoencoder = build(config, width=x_BD.shape[1], features=features)
    autoencoder.initialize(x_BD, torch.Generator().manual_seed(0))
    if variant == "l1":
        with torch.no_grad():
            pre_BF = x_BD[:512] @ autoencoder.W_enc_FD.T
            autoencoder.b_enc_F.fill_(-pre_BF.flatten().kthvalue(pre_BF.numel() - 512 * l0).values.item())
            autoencoder.get_buffer("active_share").fill_(l0 / features)
    return autoencoder


def measure(variant: str, features: int, batch: int, width: int, l0: int, repeats: int) -> dict[str, Any]:
    """Times and ratio of one case."""
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(batch, width, generator=generator)
    autoencoder = prepared(variant, x_BD, features, l0)
    # A rate of zero keeps the case as it was prepared; Adam does the same work.
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=0.0, fused=True)
    firing, meter = FiringRecord(features), Meter()
    product_BF = torch.empty(batch, features)
    active: list[int] = []

    def product() -> None:
        with torch.no_grad():
            torch.mm(x_BD, autoencoder.W_enc_FD.T, out=product_BF)

    def step() -> None:
        losses = autoencoder.loss(x_BD, Moment(0.5))
        losses.total.backward()
        autoencoder.project_gradients()
        norm = torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        autoencoder.constrain()
        firing.update(losses.codes)
        meter.add(x_BD, losses, norm)
        active.append(losses.codes.values.shape[0])

    seconds: dict[Callable[[], None], list[float]] = {product: [], step: []}
    for repeat in range(repeats + 2):
        for function, times in seconds.items():
            start = time.perf_counter()
            function()
            if repeat >= 2:
                times.append(time.perf_counter() - start)
    ratios = [s / p for s, p in zip(seconds[step], seconds[product], strict=True)]
    return {
        "variant": variant,
        "features": features,
        "batch": batch,
        "width": width,
        "l0": round(active[-1] / batch, 1),
        "threads": torch.get_num_threads(),
        "product_ms": round(1e3 * statistics.median(seconds[product]), 1),
        "step_ms": round(1e3 * statistics.median(seconds[step]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "tokens_per_second": round(batch / statistics.median(seconds[step])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["topk", "l1"], choices=["topk", "l1"])
    parser.add_argument("--features", nargs="+", type=int, default=[8192, 16_384])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for features in options.features:
        for variant in options.variant:
            case = measure(variant, features, options.batch, options.width, options.l0, options.repeats)
            print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
