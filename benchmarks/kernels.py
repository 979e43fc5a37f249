"""What each kernel of the CPU costs, beside the encoder's matrix product; prints one JSON object.

    python benchmarks/kernels.py --features 16384

Milliseconds, the least of several runs in one process, in turn. ``missed`` is the share of the true k largest
pre-activations that the candidates of the "fast" product leave out, on random directions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from timing import best_seconds

from semascope.kernels import TopK, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(options.batch, options.width, generator=generator)
    W_FD = torch.randn(options.features, options.width, generator=generator)
    b_F = torch.zeros(options.features)
    pre_BF = x_BD @ W_FD.T

    def encoded(precision: str) -> tuple[Any, torch.Tensor]:
        return cpu.encode(x_BD, W_FD, b_F, [TopK(options.l0)], precision)[0]

    pattern, values_K = encoded("full")
    [proposed, _] = encoded("fast")
    k = options.l0
    both_BK = torch.cat([p.feature_ids.view(-1, k) for p in (pattern, proposed)], dim=1).sort(dim=1).values
    missed = 1 - (both_BK.diff(dim=1) == 0).sum().item() / pattern.feature_ids.numel()

    rows_T = pattern.transposed(cpu.transpose).features_T
    gradient_TD = cpu.weight_gradient(pattern, values_K, x_BD)
    moments = [torch.zeros_like(W_FD) for _ in range(2)]
    steps_F, factor = torch.zeros(options.features, dtype=torch.int32), torch.ones(())
    adam = {"rate": 0.0, "betas": (0.9, 0.999), "epsilon": 1e-8, "factor": factor, "unit_rows": True}
    parts: dict[str, Callable[[], Any]] = {
        "encoder_product": lambda: torch.mm(x_BD, W_FD.T, out=pre_BF),
        "encode_full": lambda: encoded("full"),
        "encode_fast": lambda: encoded("fast"),
        "torch_topk": lambda: pre_BF.topk(options.l0, sorted=False),
        "decode": lambda: cpu.decode(pattern, values_K, W_FD),
        "transpose": lambda: cpu.transpose(pattern),
        "decode_gradients": lambda: cpu.decode_gradients(pattern, values_K, x_BD, W_FD),
        "weight_gradient": lambda: cpu.weight_gradient(pattern, values_K, x_BD),
        "adam": lambda: cpu.adam_rows(rows_T, gradient_TD, W_FD, *moments, steps_F, **adam),
    }
    shape = {name: getattr(options, name) for name in ("batch", "width", "features", "l0")}
    milliseconds = {name: round(1e3 * seconds, 1) for name, seconds in best_seconds(parts, options.repeats).items()}
    print(json.dumps({**shape, "missed": round(missed, 6), "ms": milliseconds}, indent=2))


if __name__ == "__main__":
    main()
