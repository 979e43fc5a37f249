"""What decides how fast a forward pass is on a CPU."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

TOKENS_PER_PASS = 1024
"""Tokens of one forward pass: enough to pay for reading the weights, few enough to stay in the caches."""


def compute_in_bfloat16(blocks: Iterable[nn.Module]) -> None:
    """Let the blocks of a float32 model compute in bfloat16 around a residual stream that stays float32.

    Embeddings, final norm and unembedding stay float32 too. On SmolLM2-135M with AMX this is 3.5 times as fast as
    float32. It moves the residual stream of layer 15 by 0.6 % of its norm (median over tokens; 1.6 % at the 99th
    percentile) and the cross-entropy on English text by about 0.05 %.
    """
    for block in blocks:
        for module in block.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
        block.forward = _with_autocast(block.forward)


def _with_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        # A fresh context each time, because it keeps what it has to restore in itself.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return forward(*args, **kwargs)

    return run


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones, where it is glibc.

    By default it gives every large block back to the system and pays for zeroed pages at the next operation, which
    can take longer than the operation itself. The process then stays as large as it was at its peak. Tensors above
    32 MiB are not affected.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # the M_... constants of malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_threshold, 32 << 20)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(top_pad, 64 << 20)
