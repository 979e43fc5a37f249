# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
"""The Triton kernels of the GPU backend for products, gradients and the optimizer; `gpu` launches them.

Gathers go by blocks of columns, the block being the slow axis of the grid: what all programs in flight read of the
gathered matrix is then a slice that stays in the cache, and main memory gives each number once a launch, not once an
entry. Sums are in float32 (float64 for float64), in a fixed order, without atomics.
"""

import triton
import triton.language as tl


@triton.jit
def weighted_sums(
    starts, ends, ids, factors, rows, extra_offsets, extra, owners, own, order, partials, out, width, entries,
    EXTRA: tl.constexpr, DOTS: tl.constexpr, ENTRIES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """``out[g] = Σ_j factors[j] · rows[ids[j]]`` over ``starts[g] ≤ j < ends[g]``; zero for an empty group.

    EXTRA: rows ``extra_offsets[g]`` to ``extra_offsets[g + 1]`` of ``extra`` are added: the other parts of a long
    group. DOTS: ``partials[c, order[j]] = ⟨rows[ids[j]], own[owners[g]]⟩`` over the columns of block c, on the way.
    """
    group, block = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < width
    start, end = tl.load(starts + group), tl.load(ends + group)
    if DOTS:
        mine = tl.load(own + tl.load(owners + group) * width + columns, mask=inside, other=0).to(out.dtype.element_ty)
    total = tl.zeros([ENTRIES, COLUMNS], dtype=out.dtype.element_ty)
    for first in range(start, end, ENTRIES):
        j = first + tl.arange(0, ENTRIES)
        there = j < end
        row = tl.load(ids + j, mask=there, other=0)
        factor = tl.load(factors + j, mask=there, other=0).to(out.dtype.element_ty)
        places = rows + row[:, None] * width + columns[None, :]
        tile = tl.load(places, mask=there[:, None] & inside[None, :], other=0).to(out.dtype.element_ty)
        total += factor[:, None] * tile
        if DOTS:
            to = partials + block * entries + tl.load(order + j, mask=there, other=0)
            tl.store(to, tl.sum(tile * mine[None, :], axis=1), mask=there)
    sums = tl.sum(total, axis=0)
    if EXTRA:
        for e in range(tl.load(extra_offsets + group), tl.load(extra_offsets + group + 1)):
            sums += tl.load(extra + e * width + columns, mask=inside, other=0)
    tl.store(out + group * width + columns, sums, mask=inside)


@triton.jit
def pair_dots(
    left_ids, right_ids, left, right, partials, width, entries, ENTRIES: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """``partials[c, j] = ⟨left[left_ids[j]], right[right_ids[j]]⟩`` over the columns of block c."""
    block = tl.program_id(1).to(tl.int64)
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    j = tl.program_id(0).to(tl.int64) * ENTRIES + tl.arange(0, ENTRIES)
    there = j < entries
    mask = there[:, None] & (columns < width)[None, :]
    a = tl.load(left_ids + j, mask=there, other=0).to(tl.int64)[:, None] * width + columns[None, :]
    b = tl.load(right_ids + j, mask=there, other=0).to(tl.int64)[:, None] * width + columns[None, :]
    products = tl.load(left + a, mask=mask, other=0).to(partials.dtype.element_ty)
    products *= tl.load(right + b, mask=mask, other=0).to(partials.dtype.element_ty)
    tl.store(partials + block * entries + j, tl.sum(products, axis=1), mask=there)


@triton.jit
def group_sums(offsets, values, out, ENTRIES: tl.constexpr):
    """``out[g] = Σ_j values[j]`` over ``offsets[g] ≤ j < offsets[g + 1]``."""
    group = tl.program_id(0).to(tl.int64)
    start, end = tl.load(offsets + group), tl.load(offsets + group + 1)
    total = tl.zeros([ENTRIES], dtype=out.dtype.element_ty)
    for first in range(start, end, ENTRIES):
        j = first + tl.arange(0, ENTRIES)
        total += tl.load(values + j, mask=j < end, other=0)
    tl.store(out + group, tl.sum(total, axis=0))


@triton.jit
def merge_repeats(offsets, order, rows, gradient, width, ENTRIES: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows of a gradient that belong to the same row of the parameter, ``order[offsets[g]:offsets[g + 1]]``, become
    one: the first takes the sum, the others become zero and their places in ``rows`` −1."""
    group = tl.program_id(0).to(tl.int64)
    start, end = tl.load(offsets + group), tl.load(offsets + group + 1)
    if end - start > 1:
        columns = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
        inside = columns < width
        total = tl.zeros([ENTRIES, COLUMNS], dtype=gradient.dtype.element_ty)
        for at in range(start, end, ENTRIES):
            j = at + tl.arange(0, ENTRIES)
            source = tl.load(order + j, mask=j < end, other=0)
            places = gradient + source[:, None] * width + columns[None, :]
            mask = (j < end)[:, None] & inside[None, :]
            tile = tl.load(places, mask=mask, other=0)
            total += tile
            tl.store(places, tl.zeros_like(tile), mask=mask & (j > start)[:, None])
            if tl.program_id(1) == 0:
                tl.store(rows + source, tl.full([ENTRIES], -1, tl.int64), mask=(j < end) & (j > start))
        tl.store(gradient + tl.load(order + start) * width + columns, tl.sum(total, axis=0), mask=inside)


@triton.jit
def adam(
    rows, gradient, W, mean, square, steps, factor, n_rows, width, rate, complement1, complement2,
    BETA1: tl.constexpr, BETA2: tl.constexpr, LOG_BETA1: tl.constexpr, LOG_BETA2: tl.constexpr, EPSILON: tl.constexpr,
    UNIT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """See `reference.adam_rows`; a row of −1 is nothing. Each program moves ROWS whole rows, held in registers."""
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    row = tl.load(rows + i, mask=i < n_rows, other=-1)
    real = row >= 0
    columns = tl.arange(0, COLUMNS)
    mask = real[:, None] & (columns < width)[None, :]
    at = row[:, None] * width + columns[None, :]
    g = tl.load(gradient + i[:, None] * width + columns[None, :], mask=mask, other=0)
    w = tl.load(W + at, mask=mask, other=0)
    number = w.dtype
    if UNIT:
        g -= tl.sum(g * w, axis=1)[:, None] * w
    g *= tl.load(factor).to(number)
    step = tl.load(steps + row, mask=real, other=0) + 1
    tl.store(steps + row, step, mask=real)
    # The corrections in float64: 1 − β₂ᵗ is a small difference of numbers near 1 at first, and a row needs two.
    t = step.to(tl.float64)
    size = (rate / (1.0 - tl.exp(t * LOG_BETA1))).to(number)[:, None]
    root = (1.0 / tl.sqrt(1.0 - tl.exp(t * LOG_BETA2))).to(number)[:, None]
    m = BETA1 * tl.load(mean + at, mask=mask, other=0) + complement1 * g
    s = BETA2 * tl.load(square + at, mask=mask, other=0) + complement2 * g * g
    tl.store(mean + at, m, mask=mask)
    tl.store(square + at, s, mask=mask)
    w -= size * m / (tl.sqrt(s) * root + EPSILON)
    if UNIT:
        w /= tl.sqrt(tl.sum(tl.where(mask, w * w, 0), axis=1) + tl.where(real, 0.0, 1.0).to(number))[:, None]
    tl.store(W + at, w, mask=mask)
