"""Times that can be compared: several ways of doing something, in turn, within one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def best_seconds(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The least time of each way over interleaved repeats, after a warm-up."""
    seconds = dict.fromkeys(ways, float("inf"))
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repeat:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds
