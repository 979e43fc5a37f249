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
def marked(marks: Array, found: Array) -> int:
    """Write the places of the marks that are not zero to ``found``, in ascending order; return how many there are.

    Marks are bytes, a multiple of eight of them: where they are few, most runs of eight are passed over as one number.
    """
    words = marks.view(np.uint64)
    n = 0
    for w in range(words.shape[0]):
        if words[w] != 0:
            # Without branches: what is not marked is overwritten.
            for place in range(8 * w, 8 * w + 8):
                found[n] = place
                n += marks[place]
    return n


@compiled
def keep_largest(
    first: int, last: int, pre: Array, bias: Array, column: int, k: int, lanes: int,
    values: Array, ids: Array, counts: Array, least: Array,
) -> None:  # fmt: skip
    """Add a block of columns (from ``column`` on) to what may be among the k largest of each row.

    ``values`` and ``ids`` [B, capacity] collect candidates above ``least`` [B], a lower bound of the k-th largest so
    far, and are pruned to k when full. The first block gives a bound by the maxima of its columns dealt into lanes:
    what k lanes exceed, k columns do.
    """
    columns = pre.shape[1]
    capacity = values.shape[1]
    maxima = np.empty(lanes, values.dtype)
    marks = np.zeros((columns + 7) // 8 * 8, np.uint8)
    found = np.empty(marks.shape[0], np.int32)
    for r in range(first, last):
        row = pre[r]
        bound, n = least[r], counts[r]
        # What k earlier candidates exceed, the k-th largest of all exceeds.
        if n > k:
            bound = max(bound, exceeded_by(values[r], n, k))
        elif n == 0 and k <= lanes:
            maxima_by_lane(row, bias, maxima)
            bound = exceeded_by(maxima, lanes, k)
        for c in range(columns):
            marks[c] = number(row[c]) + bias[c] > bound
        for i in range(marked(marks, found)):
            c = found[i]
            value = number(row[c]) + bias[c]
            if value > bound:
                if n == capacity:
                    bound = largest_first(values[r], ids[r], n, k)
                    n = k
                values[r, n] = value
                ids[r, n] = column + c
                n += 1
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
def mark_above(first: int, last: int, pre: Array, limits: Array, marks: Array, counts: Array) -> None:
    """Mark the columns of each row that exceed their limit, for `marked`; ``counts[r]`` = how many there are."""
    columns = pre.shape[1]
    for r in range(first, last):
        row, row_marks = pre[r], marks[r]
        n = 0
        for c in range(columns):
            above = number(row[c]) > limits[c]
            row_marks[c] = above
            n += above
        row_marks[columns:] = 0
        counts[r] = n


@compiled
def write_marked(
    first: int, last: int, pre: Array, marks: Array, bias: Array, column: int, offsets: Array, out_values: Array,
    out_ids: Array,
) -> None:  # fmt: skip
    """Write what `mark_above` marked, with the bias added, at ``offsets[r]`` on."""
    found = np.empty(marks.shape[1], np.int32)
    for r in range(first, last):
        row, start = pre[r], offsets[r]
        for i in range(marked(marks[r], found)):
            c = found[i]
            out_values[start + i] = number(row[c]) + bias[c]
            out_ids[start + i] = column + c


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
