"""The encoder on a GPU: the matrix product, a chunk of features at a time, and the search in each chunk.

A chunk of pre-activations is read while it is still in the cache; nothing of size B x F exists beyond it. TopK has as
many entries as it is asked for and never makes the host wait. The number of entries of Above and BatchTopK is the
data's, and their tensors are as long: the host reads it, once an encode, when everything is found
(`_Entries.in_order`). The lists that entries are gathered in have room for what was found lately and half as much
again; when they were too short, and when BatchTopK's guess was wrong, the product is computed a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from semascope.kernels import triton_select as loops
from semascope.kernels.cpu_encode import PRODUCT_ERROR, ROUNDING_ERROR, SPARE_CANDIDATES, SPARE_SHARE
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Above, BatchTopK, Selection, TopK
from semascope.kernels.triton_launch import dots, launch, power_of_two

# Pre-activations of a chunk: 32 MiB in bfloat16, which an H100's cache holds.
CHUNK_ENTRIES = 1 << 24
LEAST_CHUNK_FEATURES = 512
# Numbers that one program looks at together, and columns at most: of narrow tiles it takes several rows.
TILE, TILE_COLUMNS = 2048, 2048
# Room for entries of a row, where nothing is known yet.
FIRST_ROOM = 128
# How many times as many entries as BatchTopK keeps may be above its guess before that counts as bad.
MOST_BY_GUESS = 8

_Found = tuple[Pattern, Tensor]
_room: dict[tuple[int, int], int] = {}


def encode(
    x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection], precision: str = "full"
) -> list[_Found]:
    """See `reference.encode`.

    With precision "fast" the product of float32 numbers is computed in bfloat16 and only proposes candidates, as on the
    CPU (`cpu_encode.encode`). In "full" it is PyTorch's in float32: without TF32, unless a program asks for that.
    """
    problem = _Problem(x_BD, W_FD, b_F, fast=precision == "fast" and x_BD.dtype == torch.float32)
    collectors = [_COLLECTORS[type(selection)](selection, problem) for selection in selections]
    found: dict[int, _Found] = {}
    while waiting := {i: collector for i, collector in enumerate(collectors) if i not in found}:
        for first, last, pre_BC in problem.chunks():
            for collector in waiting.values():
                collector.add(pre_BC, first, last)
        finished = {i: collector.finish() for i, collector in waiting.items()}
        found |= {i: result for i, result in finished.items() if result is not None}
    return [found[i] for i in range(len(collectors))]


class _Problem:
    """What is to be encoded, with what collectors need to know of it."""

    def __init__(self, x_BD: Tensor, W_FD: Tensor, b_F: Tensor, *, fast: bool) -> None:
        self.x_BD, self.W_FD, self.b_F, self.fast = x_BD, W_FD, b_F, fast
        self.n_rows, self.n_features = x_BD.shape[0], W_FD.shape[0]
        self.device = x_BD.device

    def chunks(self) -> Iterator[tuple[int, int, Tensor]]:
        """``x Wᵀ``, without bias, a chunk of features (from, to) at a time, all in the same memory."""
        size = min(self.n_features, max(LEAST_CHUNK_FEATURES, CHUNK_ENTRIES // max(1, self.n_rows)))
        factor_BD = self.x_BD.bfloat16() if self.fast else self.x_BD
        memory = factor_BD.new_empty(self.n_rows * size)
        for first in range(0, self.n_features, size):
            last = min(first + size, self.n_features)
            pre_BC = memory[: self.n_rows * (last - first)].view(self.n_rows, last - first)
            torch.mm(factor_BD, self.W_FD[first:last].to(factor_BD.dtype).T, out=pre_BC)
            yield first, last, pre_BC

    @cached_property
    def product_errors_F(self) -> Tensor:
        """[F]: by how much a bfloat16 product with each feature's row may be off, before its result is rounded."""
        return PRODUCT_ERROR * self.x_BD.square().mean().sqrt() * self.W_FD.norm(dim=1)

    def exact(self, rows_K: Tensor, ids_K: Tensor) -> Tensor:
        """[K]: pre-activations in the type of the weights."""
        return dots(rows_K, ids_K, self.x_BD, self.W_FD) + self.b_F[ids_K]


class _Collector(Protocol):
    """Sees the pre-activations chunk by chunk, and has what one selection keeps in the end, or wants another pass."""

    def add(self, pre_BC: Tensor, first: int, last: int) -> None: ...

    def finish(self) -> _Found | None: ...


class _Largest:
    """TopK: candidates of each row. Features that are not listed have a bias of −∞, which nothing overcomes."""

    def __init__(self, selection: TopK, problem: _Problem) -> None:
        self.problem, listed, self.bias_F = problem, selection.among_F, problem.b_F
        self.available = problem.n_features
        if listed is not None:
            self.available = listed.shape[0]
            self.bias_F = torch.full_like(problem.b_F, -torch.inf).index_copy_(0, listed, problem.b_F[listed])
        self.k = min(selection.k, self.available)
        spare = max(SPARE_CANDIDATES, round(SPARE_SHARE * self.k)) if problem.fast else 0
        self.candidates = min(self.available, self.k + spare)
        self.capacity = power_of_two(2 * self.candidates + 64)
        self.values = problem.b_F.new_empty(problem.n_rows, self.capacity)
        self.ids = torch.empty(self.values.shape, dtype=torch.int32, device=problem.device)
        self.counts_B = torch.zeros(problem.n_rows, dtype=torch.int32, device=problem.device)
        self.bounds_B = problem.b_F.new_full((problem.n_rows,), -torch.inf)

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        """Keep what may be among the largest."""
        n_rows, tile = self.problem.n_rows, min(TILE_COLUMNS, power_of_two(last - first))
        rows = max(1, TILE // tile)
        launch(
            loops.keep_largest, (-(-n_rows // rows),), pre_BC, self.bias_F[first:last], self.values, self.ids,
            self.counts_B, self.bounds_B, first, n_rows, last - first, self.candidates, BITS=_bits(self.values),
            ROWS=rows, TILE=tile, CAPACITY=self.capacity, num_warps=8,
        )  # fmt: skip

    def finish(self) -> _Found:
        """The k largest, among candidates by their exact values."""
        problem, n = self.problem, self.candidates
        values, ids = _largest(self.values, self.ids, self.counts_B, n)
        if problem.fast:
            rows_K = torch.arange(problem.n_rows * n, device=problem.device) // n
            exact = problem.exact(rows_K, ids.view(-1)).view(problem.n_rows, n)
            values = torch.where(values.isnan(), values, exact)
            values, ids = _largest(values, ids, torch.full_like(self.counts_B, n), self.k)
        offsets = self.k * torch.arange(problem.n_rows + 1, device=problem.device)
        return Pattern(offsets, ids.view(-1), problem.n_features, touchable=self.available), values.view(-1)


def _largest(values: Tensor, ids: Tensor, counts_B: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the first candidates of each row, with their ids: [B, k], ids ascending."""
    n_rows, stride = values.shape
    out, out_ids = values.new_empty(n_rows, k), torch.empty(n_rows, k, dtype=torch.int64, device=values.device)
    capacity = power_of_two(stride)
    rows = max(1, TILE // capacity)
    launch(
        loops.finish_largest, (-(-n_rows // rows),), values, ids, counts_B, out, out_ids, n_rows, stride, k,
        BITS=_bits(values), ROWS=rows, CAPACITY=capacity, num_warps=4 if capacity <= TILE else 16,
    )  # fmt: skip
    return out, out_ids


class _Entries:
    """Flat lists of the entries above limits, in any order."""

    def __init__(self, problem: _Problem, threshold: float | Tensor, room: int) -> None:
        self.problem, self.threshold, self.room = problem, threshold, room
        self.rows = torch.zeros(room, dtype=torch.int64, device=problem.device)
        self.ids, self.values = torch.zeros_like(self.rows), problem.b_F.new_zeros(room)
        self.total = torch.zeros(1, dtype=torch.int64, device=problem.device)

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        """Append what a chunk has above the threshold, or may have."""
        bias_C, threshold = self.problem.b_F[first:last], self.threshold
        if isinstance(threshold, Tensor):
            limits_C = (threshold[first:last] if threshold.ndim else threshold.expand(last - first)).to(bias_C)
        else:
            limits_C = torch.full_like(bias_C, threshold)
        if self.problem.fast:
            doubt_C = self.problem.product_errors_F[first:last] + ROUNDING_ERROR * (limits_C - bias_C).abs()
            limits_C = limits_C - doubt_C.nan_to_num(0.0, posinf=0.0)
        tile = min(TILE_COLUMNS, power_of_two(last - first))
        launch(
            loops.collect_above, (self.problem.n_rows, -(-(last - first) // tile)), pre_BC, bias_C,
            limits_C.contiguous(), self.rows, self.ids, self.values, self.total, first, last - first, self.room,
            TILE=tile, num_warps=8,
        )  # fmt: skip

    def trim(self) -> None:
        """Give up the room that is not taken. The host waits."""
        self.room = max(1, min(self.room, int(self.total)))
        self.rows, self.ids, self.values = (t[: self.room] for t in (self.rows, self.ids, self.values))

    def exact(self) -> tuple[Tensor, Tensor]:
        """[room]: the values, and which of them are entries above the threshold."""
        values, threshold = self.values, self.threshold
        if self.problem.fast:
            values = self.problem.exact(self.rows, self.ids)
        if isinstance(threshold, Tensor):
            threshold = threshold[self.ids] if threshold.ndim else threshold
        taken = torch.arange(self.room, device=values.device) < self.total
        return values, taken & (values > threshold)

    def in_order(self, kept: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """The kept entries row by row: offsets, ids and places, the latter two followed by others, with what the host
        has to know: how many were found, how many are kept, and further numbers. The one place where it waits."""
        n_rows, n_features = self.problem.n_rows, self.problem.n_features
        keys, places = torch.where(kept, self.rows * n_features + self.ids, n_rows * n_features).sort()
        offsets = torch.searchsorted(keys, n_features * torch.arange(n_rows + 1, device=keys.device))
        known = torch.cat([self.total, offsets[-1:], *(number.view(1).long() for number in numbers)]).tolist()
        return offsets, keys % max(1, n_features), places, known


class _Above:
    """Above: the entries, once there was room for all of them."""

    def __init__(self, selection: Above, problem: _Problem) -> None:
        self.problem = problem
        self.entries = _Entries(problem, selection.threshold, _room_for(problem))

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        """Gather entries."""
        self.entries.add(pre_BC, first, last)

    def finish(self) -> _Found | None:
        """What is above the threshold; None when there was no room for it."""
        values, kept = self.entries.exact()
        offsets, ids, places, (total, n_kept) = self.entries.in_order(kept)
        room = _remember(self.problem, total)
        if total > self.entries.room:
            self.entries = _Entries(self.problem, self.entries.threshold, room)
            return None
        return Pattern(offsets, ids[:n_kept], self.problem.n_features), values[places[:n_kept]]


class _LargestOfBatch:
    """BatchTopK: the largest of what is above the guess; if that was no good, a second pass that needs none."""

    def __init__(self, selection: BatchTopK, problem: _Problem) -> None:
        self.problem, self.wanted, self.careful = problem, selection.k * problem.n_rows, False
        self.below_too = selection.below_too
        self.entries = _Entries(problem, selection.likely, max(1, self.wanted, _room_for(problem)))

    def add(self, pre_BC: Tensor, first: int, last: int) -> None:
        """Gather entries; without a guess, only those that can still be among the largest."""
        self.entries.add(pre_BC, first, last)
        if self.careful:
            self._raise_threshold()

    def finish(self) -> _Found | None:
        """The largest ones; None when there was no room, or too few were above the guess."""
        if self.careful:
            self.entries.trim()
        values, kept = self.entries.exact()
        kept &= values > 0
        n_found = kept.sum()
        ranked = torch.where(kept, values, -torch.inf).sort(descending=True).values
        least = ranked[(n_found.clamp(1, self.wanted) - 1).view(1)]
        guessed = torch.as_tensor(self.entries.threshold, device=self.problem.device) > 0
        offsets, ids, places, known = self.entries.in_order(kept & (values >= least), n_found, guessed)
        total, n_kept, found, by_guess = known
        if by_guess:
            _remember(self.problem, min(total, MOST_BY_GUESS * self.wanted))
        too_few = by_guess and self.below_too and found < self.wanted
        if not self.careful and (total > self.entries.room or too_few):
            self.careful = True
            chunk = max(CHUNK_ENTRIES, LEAST_CHUNK_FEATURES * self.problem.n_rows)
            room = 3 * self.wanted + min(chunk, self.problem.n_rows * self.problem.n_features)
            self.entries = _Entries(self.problem, 0.0, room)
            return None
        return Pattern(offsets, ids[:n_kept], self.problem.n_features), values[places[:n_kept]]

    def _raise_threshold(self) -> None:
        """Leave out what cannot be among the largest. The host waits, at each chunk of a first step or a bad guess."""
        entries, total = self.entries, int(self.entries.total)
        if total <= 3 * self.wanted:
            return
        values = entries.values[:total]
        least = values.topk(self.wanted).values[-1]
        if self.problem.fast:
            least = least - (self.problem.product_errors_F.max() + ROUNDING_ERROR * least.abs())
        kept = (values >= least).nonzero().flatten()
        for entry_list in (entries.rows, entries.ids, entries.values):
            entry_list[: len(kept)] = entry_list[kept]
        entries.total.fill_(len(kept))
        # What equals the bound stays.
        bound = torch.nextafter(least, least.new_full((), -torch.inf))
        entries.threshold = torch.maximum(bound, torch.zeros_like(bound))


_COLLECTORS: dict[type[Selection], Callable[[Any, _Problem], _Collector]] = {
    TopK: _Largest,
    Above: _Above,
    BatchTopK: _LargestOfBatch,
}


def _room_for(problem: _Problem) -> int:
    size = (problem.n_rows, problem.n_features)
    return max(1, min(size[0] * size[1], _room.get(size, FIRST_ROOM * size[0])))


def _remember(problem: _Problem, total: int) -> int:
    """Room for what was found and half as much again, at the next pass over a problem of this size."""
    size = (problem.n_rows, problem.n_features)
    _room[size] = max(total + total // 2 + size[0], _room.get(size, 0) * 7 // 8)
    return max(1, min(size[0] * size[1], _room[size]))


def _bits(values: Tensor) -> int:
    return 8 * values.element_size()
