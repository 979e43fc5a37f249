"""Memory for large results that come and go at every step.

The C library gives blocks of tens of megabytes back to the system when they are freed, and the system hands out fresh,
zeroed pages for the next ones: at 37 MB (the gradient of 16,384 x 576 weights) that takes as long as computing them, or
several times as long. Here blocks are kept when their last tensor dies, and given to the next that asks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Smaller blocks stay with the C library.
LEAST_BYTES = 1 << 20
# At most so much memory waits for a next use; the blocks that came back first go first.
MOST_FREE_BYTES = 512 << 20

_free: list[np.ndarray[tuple[int], np.dtype[np.uint8]]] = []
_lock = threading.Lock()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor out of recycled memory."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < LEAST_BYTES:
        return torch.empty(*shape, dtype=dtype)
    block = _taken(size)
    # The tensor's storage keeps `view` alive, and `view` nothing but itself tells when the storage dies.
    view = block[:size]
    weakref.finalize(view, _give_back, block).atexit = False
    return torch.from_numpy(view).view(dtype).view(*shape)


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros that on a CPU take memory where they are first touched, page by page."""
    if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
        return torch.zeros_like(tensor, requires_grad=False)
    return torch.from_numpy(np.zeros(tensor.shape, tensor.detach().numpy().dtype))


def _taken(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    with _lock:
        # The smallest that is large enough, and not so large that most of it would lie idle.
        fitting = [i for i, block in enumerate(_free) if size <= block.nbytes <= 2 * size]
        if fitting:
            return _free.pop(min(fitting, key=lambda i: _free[i].nbytes))
    return np.empty(size + size // 16, dtype=np.uint8)


def _give_back(block: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
    with _lock:
        _free.append(block)
        while sum(free.nbytes for free in _free) > MOST_FREE_BYTES:
            del _free[0]
