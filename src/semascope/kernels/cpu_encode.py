"""The encoder on the CPU: the matrix product, a block of features at a time, and the search in each block.

By blocks of features each weight is read once, however wide the dictionary, and nothing of size B x F exists beyond a
block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from semascope.kernels import memory
from semascope.kernels import numba_select as loops
from semascope.kernels.numba_loops import dots
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Above, BatchTopK, Selection, TopK
from semascope.kernels.threads import over_rows

# 64 MiB of float32 pre-activations: a block of 4,096 features for a batch of 4,096 rows.
BLOCK_ENTRIES = 1 << 24
LEAST_BLOCK_FEATURES = 512
LANES = 256
# How many more candidates than k the bfloat16 product proposes: at least, and relative to k. benchmarks/kernels.py
# measures how many of the true k largest that misses.
SPARE_CANDIDATES, SPARE_SHARE = 8, 1 / 4
# How far a bfloat16 product may be off, beside rounding its result: six standard deviations of the sum of D rounded
# products of numbers of the sizes that rows of x and of W have on average.
PRODUCT_ERROR = 6 * 2.0**-9
ROUNDING_ERROR = 2.0**-8


def encode(
    x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection], precision: str = "full"
) -> list[tuple[Pattern, Tensor]]:
    """See `reference.encode`.

    With precision "fast" the product of float32 numbers is computed in bfloat16 and only proposes candidates: somewhat
    more than k for TopK, everything that rounding might have brought below the threshold for the others. Their
    pre-activations are then computed exactly, and the selection is made among those.
    """
    n_rows, n_features = x_BD.shape[0], W_FD.shape[0]
    fast = precision == "fast" and x_BD.dtype == torch.float32
    problem = _Problem(x_BD, W_FD, b_F, fast)
    collectors = [_COLLECTORS[type(selection)](selection, problem) for selection in selections]
    factor_BD = x_BD.bfloat16() if fast else x_BD
    for first, last in _blocks(n_rows, n_features):
        pre_BC = _buffer(n_rows, last - first, factor_BD.dtype)
        torch.mm(factor_BD, W_FD[first:last].to(factor_BD.dtype).T, out=pre_BC)
        for collector in collectors:
            collector.add(pre_BC, first, last)
    return [collector.finish() for collector in collectors]


class _Problem:
    """What is to be encoded, with what collectors need to know of it."""

    def __init__(self, x_BD: Tensor, W_FD: Tensor, b_F: Tensor, fast: bool) -> None:
        self.x_BD, self.W_FD, self.b_F, self.fast = x_BD, W_FD, b_F, fast
        self.n_rows, self.n_features = x_BD.shape[0], W_FD.shape[0]

    @cached_property
    def product_errors_F(self) -> Tensor:
        """[F]: by how much a bfloat16 product with each feature's row may be off, before its result is rounded."""
        return PRODUCT_ERROR * self.x_BD.square().mean().sqrt() * self.W_FD.norm(dim=1)


class _Collector(Protocol):
    """Sees the pre-activations block by block, and has what one selection keeps in the end."""

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        """Look at ``x Wᵀ``, without bias, of the features ``first`` to ``last``."""
        ...

    def finish(self) -> tuple[Pattern, Tensor]: ...


class _Largest:
    """TopK: candidates of each row, with a lower bound of its k-th largest."""

    def __init__(self, selection: TopK, problem: _Problem) -> None:
        self.problem, self.listed_F = problem, selection.among_F
        available = problem.n_features if self.listed_F is None else self.listed_F.shape[0]
        self.k = min(selection.k, available)
        self.candidates = self.k
        if problem.fast:
            self.candidates = min(available, self.k + max(SPARE_CANDIDATES, round(SPARE_SHARE * self.k)))
        # Room for as many candidates, and for as many again before they are pruned.
        self.values = problem.b_F.new_empty(problem.n_rows, 2 * self.candidates + 32)
        self.ids = torch.empty(self.values.shape, dtype=torch.int32)
        self.counts_B = torch.zeros(problem.n_rows, dtype=torch.int64)
        self.least_B = problem.b_F.new_full((problem.n_rows,), -torch.inf)

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        state = arrays(self.values, self.ids, self.counts_B, self.least_B)
        pre, bias = arrays(pre_BC, self.problem.b_F[first:last])
        rows, n = self.problem.n_rows, self.candidates
        if self.listed_F is None:
            over_rows(loops.keep_largest, rows, pre, bias, first, n, min(LANES, last - first), *state)
        else:
            [listed] = arrays(self.listed_F[(self.listed_F >= first) & (self.listed_F < last)])
            over_rows(loops.keep_largest_listed, rows, pre, bias, first, listed, n, *state)

    def finish(self) -> tuple[Pattern, Tensor]:
        problem, n_rows, k = self.problem, self.problem.n_rows, self.k
        candidates = arrays(self.values, self.ids, self.counts_B)
        if problem.fast:
            x, W, bias = arrays(problem.x_BD, problem.W_FD, problem.b_F)
            over_rows(loops.score_candidates, n_rows, x, W, bias, self.candidates, *candidates)
        values_K = self.values.new_empty(n_rows * k)
        ids_K = torch.empty(n_rows * k, dtype=torch.int64)
        over_rows(loops.finish_largest, n_rows, k, *candidates, *arrays(values_K, ids_K))
        return Pattern.from_counts(torch.full((n_rows,), k), ids_K, problem.n_features), values_K


class _Above:
    """Above: the entries of each block, then all of them row by row."""

    def __init__(self, selection: Above, problem: _Problem) -> None:
        self.problem, self.threshold = problem, selection.threshold
        if isinstance(self.threshold, Tensor) and not self.threshold.ndim:
            self.threshold = self.threshold.item()
        self.blocks: list[tuple[Pattern, Tensor]] = []

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        n_rows, bias_C = self.problem.n_rows, self.problem.b_F[first:last]
        limits_C = self._threshold(first, last) - bias_C
        if self.problem.fast:
            limits_C -= self.problem.product_errors_F[first:last] + ROUNDING_ERROR * limits_C.abs()
        counts_B = torch.empty(n_rows, dtype=torch.int64)
        marks = memory.empty((n_rows, -(-(last - first) // 8) * 8), torch.uint8)
        over_rows(loops.mark_above, n_rows, *arrays(pre_BC, limits_C, marks, counts_B))
        ids_K = torch.empty(int(counts_B.sum()), dtype=torch.int64)
        block = Pattern.from_counts(counts_B, ids_K, self.problem.n_features)
        values_K = bias_C.new_empty(len(ids_K))
        places = arrays(block.row_offsets, values_K, ids_K)
        over_rows(loops.write_marked, n_rows, *arrays(pre_BC, marks, bias_C), first, *places)
        self.blocks.append((block, values_K))

    def finish(self) -> tuple[Pattern, Tensor]:
        pattern, values_K = _row_by_row(self.blocks)
        if not self.problem.fast:
            return pattern, values_K
        x, W = arrays(self.problem.x_BD, self.problem.W_FD)
        entries = arrays(pattern.row_offsets, pattern.feature_ids)
        over_rows(dots, pattern.n_rows, *entries, x, W, *arrays(values_K))
        values_K += self.problem.b_F[pattern.feature_ids]
        threshold = self.threshold
        return _kept(pattern, values_K, threshold[pattern.feature_ids] if isinstance(threshold, Tensor) else threshold)

    def _threshold(self, first: int, last: int) -> Tensor:
        if isinstance(self.threshold, Tensor):
            return self.threshold[first:last]
        return self.problem.b_F.new_full((last - first,), self.threshold)


class _LargestOfBatch:
    """BatchTopK: everything above a lower bound of what stays, which rises with what was found."""

    def __init__(self, selection: BatchTopK, problem: _Problem) -> None:
        self.k, self.likely, self.below_too = selection.k, float(selection.likely), selection.below_too
        self.problem = problem
        self.wanted = selection.k * problem.n_rows
        self.above = _Above(Above(self.likely), problem)

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        self.above.add(pre_BC, first, last)
        held_K = torch.cat([values_K for _, values_K in self.above.blocks])
        if len(held_K) > 3 * self.wanted:
            bound = _kth_largest(held_K, self.wanted)
            if self.problem.fast:
                bound -= self.problem.product_errors_F.max().item() + ROUNDING_ERROR * bound
            bound = max(bound, self.likely)
            self.above.threshold = bound
            self.above.blocks = [_kept(block, values_K, bound, inclusive=True) for block, values_K in self.above.blocks]

    def finish(self) -> tuple[Pattern, Tensor]:
        pattern, values_K = self.above.finish()
        if len(values_K) < self.wanted and self.likely > 0 and self.below_too:
            # The guess was too high: look again without one.
            problem = self.problem
            precision = "fast" if problem.fast else "full"
            return encode(problem.x_BD, problem.W_FD, problem.b_F, [BatchTopK(self.k)], precision)[0]
        if len(values_K) <= self.wanted:
            return pattern, values_K
        return _kept(pattern, values_K, _kth_largest(values_K, self.wanted), inclusive=True)


_COLLECTORS: dict[type[Selection], Callable[[Any, _Problem], _Collector]] = {
    TopK: _Largest,
    Above: _Above,
    BatchTopK: _LargestOfBatch,
}


def _kth_largest(values_K: Tensor, k: int) -> float:
    return values_K.kthvalue(len(values_K) - k + 1).values.item()


def _kept(
    pattern: Pattern, values_K: Tensor, least: float | Tensor, *, inclusive: bool = False
) -> tuple[Pattern, Tensor]:
    """The entries above ``least``, or also those that equal it."""
    kept_K = values_K >= least if inclusive else values_K > least
    return pattern.where(kept_K), values_K[kept_K]


def _row_by_row(blocks: Sequence[tuple[Pattern, Tensor]]) -> tuple[Pattern, Tensor]:
    """One pattern out of blocks of features, which come in ascending order."""
    if len(blocks) == 1:
        return blocks[0]
    counts_B = torch.stack([block.row_offsets.diff() for block, _ in blocks]).sum(dim=0)
    ids_K = torch.empty(int(counts_B.sum()), dtype=torch.int64)
    values_K = blocks[0][1].new_empty(len(ids_K))
    joined = Pattern.from_counts(counts_B, ids_K, blocks[0][0].n_features)
    ends = arrays(joined.row_offsets[:-1].clone(), values_K, ids_K)
    for block, block_values_K in blocks:
        entries = arrays(block.row_offsets, block_values_K, block.feature_ids)
        over_rows(loops.append_rows, block.n_rows, *entries, *ends)
    return joined, values_K


def arrays(*tensors: Tensor) -> list[np.ndarray[Any, Any]]:
    """The tensors' memory as arrays for the loops; bfloat16 as its bits."""
    return [
        (tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()).numpy()
        for tensor in tensors
    ]


def _block_features(n_rows: int, n_features: int) -> int:
    return min(n_features, max(LEAST_BLOCK_FEATURES, BLOCK_ENTRIES // max(1, n_rows)))


def _blocks(n_rows: int, n_features: int) -> Iterator[tuple[int, int]]:
    size = _block_features(n_rows, n_features)
    for first in range(0, n_features, size):
        yield first, min(first + size, n_features)


_kept_memory = threading.local()


def _buffer(n_rows: int, n_columns: int, dtype: torch.dtype) -> Tensor:
    """Memory for one block, kept from call to call: fresh pages of this size cost as much as the search in them."""
    bytes_needed = n_rows * n_columns * dtype.itemsize
    memory: Tensor | None = getattr(_kept_memory, "bytes", None)
    if memory is None or memory.numel() < bytes_needed:
        memory = _kept_memory.bytes = torch.empty(bytes_needed, dtype=torch.uint8)
    return memory[:bytes_needed].view(dtype).view(n_rows, n_columns)
