"""Loops over rows on as many threads as PyTorch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

# Below this many rows a thread, handing work over costs more than it saves.
LEAST_ROWS = 8


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="semascope-kernels")


def over_rows(loop: Callable[..., Any], n_rows: int, *arguments: Any) -> None:
    """Call ``loop(first, last, *arguments)`` for parts of ``range(n_rows)`` at once; the loop must release the GIL."""
    parts = max(1, min(torch.get_num_threads(), n_rows // LEAST_ROWS))
    ends = [n_rows * part // parts for part in range(parts + 1)]
    others = [_pool().submit(loop, ends[i], ends[i + 1], *arguments) for i in range(1, parts)]
    loop(0, ends[1], *arguments)
    for other in others:
        other.result()
