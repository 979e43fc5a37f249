"""The loops of the CPU backend that select pre-activations: the largest, or those above a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from semascope.kernels.numba_compiled import Array, compiled, number

# Steps of a bisection: enough to be within a thousandth of the range.
BISECTIONS = 10


@compiled
def largest_first(values: Array, ids: Array, n: int, k: int) -> Any:
    """Bring the k largest of the first n values, with their ids, to the front (Hoare's selection); return the least."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        a, b = low, high
        while a <= b:
            while values[a] > pivot:
                a += 1
            while values[b] < pivot:
                b -= 1
            if a <= b:
                values[a], values[b] = values[b], values[a]
                ids[a], ids[b] = ids[b], ids[a]
                a += 1
                b -= 1
        if k - 1 <= b:
            high = b
        elif k - 1 >= a:
            low = a
        else:
            break
    least = values[0]
    for i in range(1, k):
        least = min(least, values[i])
    return least


@compiled
def exceeded_by(values: Array, n: int, k: int) -> Any:
    """A number that at least k of the first n values exceed, and not many more: by bisection, in a few fast passes."""
    number_of = values.dtype.type
    low = high = values[0]
    for i in range(1, n):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    bound = number_of(-np.inf)
    middle = np.nextafter(low, bound)
    for _ in range(BISECTIONS):
        exceeding = 0
        for i in range(n):
            exceeding += values[i] > middle
        if exceeding >= k:
            low = bound = middle
            if exceeding <= k + (k >> 3):
                break
        else:
            high = middle
        middle = number_of(0.5) * (low + high)
    return bound


@compiled
def maxima_by_lane(row: Array, bias: Array, maxima: Array) -> None:
    """``maxima[l]`` = the largest of ``row[c] + bias[c]`` over the columns c with c mod L = l."""
    lanes = maxima.shape[0]
    columns = row.shape[0]
    for lane in range(lanes):
        maxima[lane] = number(row[lane]) + bias[lane]
    for start in range(lanes, columns, lanes):
        width = min(lanes, columns - start)
        part, part_bias = row[start : start + width], bias[start : start + width]
        for lane in range(width):
            value = number(part[lane]) + part_bias[lane]
            maxima[lane] = value if value > maxima[lane] else maxima[lane]


@compiled
def keep_largest(
    first: int, last: int, pre: Array, bias: Array, column: int, k: int, lanes: int,
    values: Array, ids: Array, counts: Array, least: Array,
) -> None:  # fmt: skip
    """Add a block of columns (from ``column`` on) to what may be among the k largest of each row.

    ``values`` and ``ids`` [B, capacity] collect candidates above ``least`` [B], a lower bound of the k-th largest so
    far, and are pruned to k when full. Columns are dealt into lanes, whose maxima are found at the speed of memory;
    only lanes with a maximum above the bound are searched.
    """
    columns = pre.shape[1]
    capacity = values.shape[1] - (columns + lanes - 1) // lanes
    maxima = np.empty(lanes, values.dtype)
    for r in range(first, last):
        row = pre[r]
        maxima_by_lane(row, bias, maxima)
        bound, n = least[r], counts[r]
        # What k maxima or k earlier candidates exceed, the k-th largest of all exceeds.
        if n > k:
            bound = max(bound, exceeded_by(values[r], n, k))
        elif n == 0 and k <= lanes:
            bound = exceeded_by(maxima, lanes, k)
        for lane in range(lanes):
            if maxima[lane] > bound:
                for c in range(lane, columns, lanes):
                    value = number(row[c]) + bias[c]
                    if value > bound:
                        values[r, n] = value
                        ids[r, n] = column + c
                        n += 1
                if n > capacity:
                    bound = largest_first(values[r], ids[r], n, k)
                    n = k
        counts[r] = n
        least[r] = bound


@compiled
def keep_largest_listed(
    first: int, last: int, pre: Array, bias: Array, column: int, listed: Array, k: int,
    values: Array, ids: Array, counts: Array, least: Array,
) -> None:  # fmt: skip
    """Like `keep_largest`, among the columns listed in ``listed`` (feature ids, all of them in this block)."""
    capacity = values.shape[1] - 1
    for r in range(first, last):
        bound, n = least[r], counts[r]
        for i in range(listed.shape[0]):
            c = listed[i] - column
            value = number(pre[r, c]) + bias[c]
            if value > bound:
                values[r, n] = value
                ids[r, n] = listed[i]
                n += 1
                if n > capacity:
                    bound = largest_first(values[r], ids[r], n, k)
                    n = k
        counts[r] = n
        least[r] = bound


@compiled
def sort_by_id(values: Array, ids: Array, n: int) -> None:
    """Put the first n entries into the order of their ids."""
    if n > 64:
        order = np.argsort(ids[:n])
        values[:n] = values[:n][order]
        ids[:n] = ids[:n][order]
        return
    for i in range(1, n):
        value, identity = values[i], ids[i]
        j = i
        while j > 0 and ids[j - 1] > identity:
            values[j], ids[j] = values[j - 1], ids[j - 1]
            j -= 1
        values[j], ids[j] = value, identity


@compiled
def finish_largest(
    first: int, last: int, k: int, values: Array, ids: Array, counts: Array, out_values: Array, out_ids: Array
) -> None:
    """Prune each row to its k largest, sort them by feature, and write them to the flat outputs [B · k].

    A row with NaN may have fewer: what is missing becomes NaN, for the trainer to see.
    """
    for r in range(first, last):
        for i in range(counts[r], k):
            values[r, i] = np.nan
            ids[r, i] = i
        largest_first(values[r], ids[r], counts[r], k)
        sort_by_id(values[r], ids[r], k)
        out_values[r * k : (r + 1) * k] = values[r, :k]
        out_ids[r * k : (r + 1) * k] = ids[r, :k]


@compiled
def count_above(first: int, last: int, pre: Array, limits: Array, counts: Array) -> None:
    """``counts[r]`` = how many columns of row r exceed their limit."""
    for r in range(first, last):
        row = pre[r]
        n = 0
        for c in range(row.shape[0]):
            n += number(row[c]) > limits[c]
        counts[r] = n


@compiled
def write_above(
    first: int, last: int, pre: Array, limits: Array, below: Array, bias: Array, column: int, lanes: int,
    offsets: Array, out_values: Array, out_ids: Array,
) -> None:  # fmt: skip
    """Write what `count_above` counted, with the bias added, at ``offsets[r]`` on.

    ``below`` is ``-limits``: a lane whose maximum of ``pre − limit`` is not positive need not be searched.
    """
    columns = pre.shape[1]
    maxima = np.empty(lanes, bias.dtype)
    for r in range(first, last):
        start, end = offsets[r], offsets[r + 1]
        if start == end:
            continue
        row = pre[r]
        maxima_by_lane(row, below, maxima)
        n = start
        for lane in range(lanes):
            if maxima[lane] > 0:
                for c in range(lane, columns, lanes):
                    if number(row[c]) > limits[c]:
                        out_values[n] = number(row[c]) + bias[c]
                        out_ids[n] = column + c
                        n += 1
        sort_by_id(out_values[start:end], out_ids[start:end], end - start)


@compiled
def append_rows(
    first: int, last: int, offsets: Array, values: Array, ids: Array, ends: Array, out_values: Array, out_ids: Array
) -> None:
    """Copy the entries of each row behind those that the row has in the output; ``ends`` [B] move on."""
    for r in range(first, last):
        place = ends[r]
        for j in range(offsets[r], offsets[r + 1]):
            out_values[place] = values[j]
            out_ids[place] = ids[j]
            place += 1
        ends[r] = place


@compiled
def score_candidates(
    first: int, last: int, x: Array, W: Array, bias: Array, k: int, values: Array, ids: Array, counts: Array
) -> None:
    """Prune each row to its k best candidates and compute those exactly: ``⟨x row, W row of the id⟩ + bias``."""
    width = x.shape[1]
    for r in range(first, last):
        n = min(counts[r], k)
        largest_first(values[r], ids[r], counts[r], n)
        counts[r] = n
        row = x[r]
        for i in range(n):
            feature = ids[r, i]
            weights = W[feature]
            total = row.dtype.type(0)
            for d in range(width):
                total += row[d] * weights[d]
            values[r, i] = total + bias[feature]
