"""What each part of a sparse step costs beside the encoder's matrix product; prints JSON, milliseconds.

    python benchmarks/kernels.py --batch 4096 --width 576 --features 8192 --l0 32

Every part runs on the same random data in one process, in turn; the least of several times.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch

from semascope.kernels import Pattern, TopK, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--features", type=int, default=8192)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x_BD = torch.randn(options.batch, options.width, generator=generator)
    W_FD = torch.randn(options.features, options.width, generator=generator)
    b_F = torch.zeros(options.features)
    selection = TopK(options.l0)
    pre_BF = x_BD @ W_FD.T
    [(pattern, values_K)] = cpu.encode(x_BD, W_FD, b_F, [selection])
    adam = torch.optim.Adam([torch.nn.Parameter(W_FD.clone()), torch.nn.Parameter(W_FD.clone())], fused=True)
    for parameter in adam.param_groups[0]["params"]:
        parameter.grad = torch.randn_like(parameter)
    parts: dict[str, Callable[[], Any]] = {
        "encoder_product": lambda: torch.mm(x_BD, W_FD.T, out=pre_BF),
        "encode": lambda: cpu.encode(x_BD, W_FD, b_F, [selection]),
        "torch_topk": lambda: pre_BF.topk(options.l0, sorted=False),
        "topk": lambda: selection.select(pre_BF),
        "decode": lambda: cpu.decode(pattern, values_K, W_FD),
        "code_gradient": lambda: cpu.code_gradient(pattern, x_BD, W_FD),
        "transpose": lambda: Pattern(pattern.row_offsets, pattern.feature_ids, pattern.n_features).transposed,
        "weight_gradient": lambda: cpu.weight_gradient(pattern, values_K, x_BD),
        "adam": adam.step,
        "clip": lambda: torch.nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], 1.0),
    }
    least = dict.fromkeys(parts, float("inf"))
    for repeat in range(options.repeats + 1):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if repeat:
                least[name] = min(least[name], time.perf_counter() - start)
    shape = {name: getattr(options, name) for name in ("batch", "width", "features", "l0")}
    print(json.dumps({**shape, "ms": {name: round(1e3 * seconds, 1) for name, seconds in least.items()}}, indent=2))


if __name__ == "__main__":
    main()
