"""How Triton kernels are launched: on the device of their tensors, in blocks that suit its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semascope.kernels import triton_loops as loops

# What of a gathered matrix is read at a time: well below the 50 MB of an H100's cache, whose halves each may hold a
# copy.
CACHE_BYTES = 16 << 20
LEAST_COLUMNS, MOST_COLUMNS = 64, 1024
# Entries of a feature that one program sums.
LONG = 256
# Entries of a program of `loops.pair_dots`.
PAIRS = 32


def launch(kernel: Any, grid: Sequence[int], *arguments: Any, **options: Any) -> None:
    """Run a kernel on the device of its first argument; an empty grid is nothing to do."""
    if all(grid):
        # Multiplications and additions in one, said aloud because Triton is about to change its mind about it.
        options.setdefault("enable_fp_fusion", True)
        with torch.cuda.device_of(arguments[0]):
            kernel[tuple(grid)](*arguments, **options)


def power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


def column_blocks(rows_ND: Tensor) -> int:
    """How many columns of a matrix whose rows are gathered to read at a time.

    As many as leave the slice in the cache; where not even a few would, whole rows serve memory best.
    """
    height, width = rows_ND.shape
    widest = min(MOST_COLUMNS, power_of_two(width))
    columns = widest
    while columns > LEAST_COLUMNS and columns * height * rows_ND.element_size() > CACHE_BYTES:
        columns //= 2
    return columns if columns * height * rows_ND.element_size() <= 2 * CACHE_BYTES else widest


def dots(left_ids_K: Tensor, right_ids_K: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``⟨left[left id], right[right id]⟩`` of each pair: [K], in the type of ``right``."""
    columns = column_blocks(right)
    entries, width = right_ids_K.shape[0], right.shape[1]
    partials = right.new_empty(-(-width // columns), entries)
    grid = (-(-entries // PAIRS), partials.shape[0])
    launch(
        loops.pair_dots, grid, left_ids_K, right_ids_K, left, right, partials, width, entries,
        ENTRIES=PAIRS, COLUMNS=columns,
    )  # fmt: skip
    return partials.sum(dim=0)
