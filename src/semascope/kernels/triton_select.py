# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
"""The Triton kernels that search the encoder's pre-activations; `gpu_encode` launches them.

Each reads a chunk once, while it is in the cache. Nothing is sorted: the n-th largest of a set is found by bisecting
the bits of its numbers, with every comparison a count over registers, and what is kept is written in the order of its
columns. NaN is never kept.
"""

import triton
import triton.language as tl


@triton.jit
def _key(value):
    """An unsigned integer that is ordered as the number is."""
    if value.dtype == tl.float64:
        bits = value.to(tl.uint64, bitcast=True)
        key = tl.where(value.to(tl.int64, bitcast=True) < 0, ~bits, bits | 0x8000000000000000)
    else:
        bits = value.to(tl.uint32, bitcast=True)
        key = tl.where(value.to(tl.int32, bitcast=True) < 0, ~bits, bits | 0x80000000)
    return key


@triton.jit
def _value(key, kind: tl.constexpr):
    """The number that `_key` made this of."""
    if kind == tl.float64:
        value = tl.where(key >= 0x8000000000000000, key & 0x7FFFFFFFFFFFFFFF, ~key).to(tl.float64, bitcast=True)
    else:
        value = tl.where(key >= 0x80000000, key & 0x7FFFFFFF, ~key).to(tl.float32, bitcast=True)
    return value


@triton.jit
def _counts(mask):
    """How many are set in each row: [R, 1]."""
    return tl.sum(mask.to(tl.int32), axis=1)[:, None]


@triton.jit
def _nth_largest(some_keys, other_keys, n, BITS: tl.constexpr):
    """[R, 1]: the n-th largest of two sets of keys [R, ·], of which zeros do not count; zero if there are fewer."""
    least = tl.max(some_keys, axis=1)[:, None] & 0
    bit = tl.full([], 1 << (BITS - 1), some_keys.dtype)
    for _ in range(BITS):
        tried = least | bit
        at_least = _counts(some_keys >= tried) + _counts(other_keys >= tried)
        least = tl.where(at_least >= n, tried, least)
        bit = bit >> 1
    return least


@triton.jit
def keep_largest(
    pre, bias, values, ids, counts, bounds, first, rows, columns, n, BITS: tl.constexpr, ROWS: tl.constexpr,
    TILE: tl.constexpr, CAPACITY: tl.constexpr,
):  # fmt: skip
    """Add a chunk of columns (features from ``first`` on) to what may be among the n largest of each row.

    ``values`` and ``ids`` [B, CAPACITY] hold, columns ascending, ``counts`` [B] candidates above ``bounds`` [B], which
    are lower bounds of the n-th largest. When a tile would not fit any more, both are cut to the n largest of all seen
    so far, which raises the bound: while columns come in no particular order that happens a few times a row, whatever F
    is.
    """
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    within = row < rows
    bound = tl.load(bounds + row, mask=within, other=0)
    count = tl.load(counts + row, mask=within, other=0)
    for start in range(0, columns, TILE):
        column = start + tl.arange(0, TILE)[None, :]
        inside = within & (column < columns)
        value = tl.load(pre + row * columns + column, mask=inside, other=0).to(bound.dtype)
        value += tl.load(bias + column, mask=column < columns, other=0)
        found = inside & (value > bound)
        more = _counts(found)
        full = count + more > CAPACITY
        if tl.max(full.to(tl.int32)) > 0:
            places = row * CAPACITY + tl.arange(0, CAPACITY)[None, :]
            held = tl.arange(0, CAPACITY)[None, :] < count
            tl.debug_barrier()  # The candidates may be another thread's.
            old = tl.load(values + places, mask=held, other=0)
            old_ids = tl.load(ids + places, mask=held, other=0)
            old_keys, keys = tl.where(held, _key(old), 0), tl.where(found, _key(value), 0)
            bound = tl.where(full, _value(_nth_largest(old_keys, keys, n, BITS), bound.dtype), bound)
            above, old_above = found & (value > bound), held & (old > bound)
            # Of those that equal the bound, as many as are still wanted.
            equal, old_equal = found & (value == bound), held & (old == bound)
            wanted = n - _counts(above) - _counts(old_above)
            old_kept = old_above | (old_equal & (tl.cumsum(old_equal.to(tl.int32), axis=1) <= wanted))
            wanted -= _counts(old_equal)
            kept = above | (equal & (tl.cumsum(equal.to(tl.int32), axis=1) <= wanted))
            old_kept, found = held & (old_kept | (full == 0)), found & (kept | (full == 0))
            count, more = _counts(old_kept), _counts(found)
            tl.debug_barrier()  # All have read before any writes.
            to = row * CAPACITY + tl.cumsum(old_kept.to(tl.int32), axis=1) - 1
            tl.store(values + to, old, mask=old_kept)
            tl.store(ids + to, old_ids, mask=old_kept)
        if tl.max(more) > 0:
            to = row * CAPACITY + count + tl.cumsum(found.to(tl.int32), axis=1) - 1
            tl.store(values + to, value, mask=found)
            tl.store(ids + to, (first + column).to(tl.int32) + tl.zeros_like(count), mask=found)
            count += more
    tl.store(bounds + row, bound, mask=within)
    tl.store(counts + row, count, mask=within)


@triton.jit
def finish_largest(
    values, ids, counts, out_values, out_ids, rows, stride, k, BITS: tl.constexpr, ROWS: tl.constexpr,
    CAPACITY: tl.constexpr,
):  # fmt: skip
    """The k largest of the ``counts`` candidates of each row [B, stride], in their order, to the outputs [B, k].

    A row with NaN may have fewer: what is missing becomes NaN, for the trainer to see.
    """
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    within = row < rows
    place = tl.arange(0, CAPACITY)[None, :]
    inside = place < tl.minimum(tl.load(counts + row, mask=within, other=0), stride)
    value = tl.load(values + row * stride + place, mask=inside, other=0)
    held = inside & (value == value)
    key = tl.where(held, _key(value), 0)
    bound = _nth_largest(key, key & 0, k, BITS)
    above, equal = held & (key > bound), held & (key == bound)
    wanted = k - _counts(above)
    kept = above | (equal & (tl.cumsum(equal.to(tl.int32), axis=1) <= wanted))
    to = row * k + tl.cumsum(kept.to(tl.int32), axis=1) - 1
    tl.store(out_values + to, value, mask=kept)
    tl.store(out_ids + to, tl.load(ids + row * stride + place, mask=kept, other=0).to(tl.int64), mask=kept)
    missing = within & (place >= _counts(kept)) & (place < k)
    tl.store(out_values + row * k + place, tl.full([ROWS, CAPACITY], float("nan"), value.dtype), mask=missing)
    tl.store(out_ids + row * k + place, tl.zeros_like(row) + place, mask=missing)


@triton.jit
def collect_above(
    pre, bias, limits, rows, ids, values, total, first, columns, capacity, TILE: tl.constexpr
):  # fmt: skip
    """Append the entries of a chunk above ``limits`` [C] to flat lists of ``capacity``, in the order in which programs
    come by; ``total`` counts also those for which there was no room."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = column < columns
    value = tl.load(pre + row * columns + column, mask=inside, other=0).to(values.dtype.element_ty)
    value += tl.load(bias + column, mask=inside, other=0)
    found = inside & (value > tl.load(limits + column, mask=inside, other=0))
    more = tl.sum(found.to(tl.int64), axis=0)
    if more > 0:
        to = tl.atomic_add(total, more) + tl.cumsum(found.to(tl.int64), axis=0) - 1
        found = found & (to < capacity)
        tl.store(rows + to, row + tl.zeros_like(column), mask=found)
        tl.store(ids + to, (first + column).to(tl.int64), mask=found)
        tl.store(values + to, value, mask=found)
