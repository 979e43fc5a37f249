"""The loops of the CPU backend for sparse products and the optimizer."""

from __future__ import annotations

import numpy as np

from semascope.kernels.numba_compiled import Array, compiled


@compiled
def dots(first: int, last: int, offsets: Array, ids: Array, left: Array, right: Array, out: Array) -> None:
    """``out[j] = ⟨left row, right[ids[j]]⟩`` for the entries j of each row."""
    width = left.shape[1]
    for r in range(first, last):
        row = left[r]
        for j in range(offsets[r], offsets[r + 1]):
            other = right[ids[j]]
            total = row.dtype.type(0)
            for d in range(width):
                total += row[d] * other[d]
            out[j] = total


@compiled
def weighted_sums(first: int, last: int, offsets: Array, ids: Array, factors: Array, rows: Array, out: Array) -> None:
    """``out[r] = Σ_j factors[j] · rows[ids[j]]`` over the entries j of each group r; zero for an empty one.

    Entries with a factor of zero are passed over: those of JumpReLU that are near their threshold but below it.
    """
    width = rows.shape[1]
    # Four at a time: the sums are read and written once for all of them.
    wait = np.empty(4, np.int64)
    for r in range(first, last):
        total = out[r]
        total[:] = 0
        waiting = 0
        for j in range(offsets[r], offsets[r + 1]):
            if factors[j] != 0:
                wait[waiting] = j
                waiting += 1
                if waiting == 4:
                    a, b, c, d = rows[ids[wait[0]]], rows[ids[wait[1]]], rows[ids[wait[2]]], rows[ids[wait[3]]]
                    fa, fb, fc, fd = factors[wait[0]], factors[wait[1]], factors[wait[2]], factors[wait[3]]
                    for i in range(width):
                        total[i] += fa * a[i] + fb * b[i] + fc * c[i] + fd * d[i]
                    waiting = 0
        for w in range(waiting):
            row, factor = rows[ids[wait[w]]], factors[wait[w]]
            for i in range(width):
                total[i] += factor * row[i]


@compiled
def decode_gradients(
    first: int, last: int, features: Array, offsets: Array, row_ids: Array, order: Array, values: Array, grad: Array,
    W: Array, along: Array, out_values: Array, out_rows: Array,
) -> None:  # fmt: skip
    """Both gradients of decode, of the groups ``first`` to ``last`` of the transposed pattern.

    ``out_values[order[j]] = ⟨grad[row_ids[j]], W row⟩`` and ``out_rows[t] = along[t] · W row + Σ_j values[order[j]] ·
    grad[row_ids[j]]``: each row of the gradient is read once for both.
    """
    width = grad.shape[1]
    zero = grad.dtype.type(0)
    for t in range(first, last):
        weights, total, start = W[features[t]], out_rows[t], along[t]
        for i in range(width):
            total[i] = start * weights[i]
        j, end = offsets[t], offsets[t + 1]
        while j + 4 <= end:
            a, b, c, d = grad[row_ids[j]], grad[row_ids[j + 1]], grad[row_ids[j + 2]], grad[row_ids[j + 3]]
            va, vb, vc, vd = values[order[j]], values[order[j + 1]], values[order[j + 2]], values[order[j + 3]]
            da, db, dc, dd = zero, zero, zero, zero
            for i in range(width):
                weight = weights[i]
                total[i] += va * a[i] + vb * b[i] + vc * c[i] + vd * d[i]
                da += a[i] * weight
                db += b[i] * weight
                dc += c[i] * weight
                dd += d[i] * weight
            out_values[order[j]], out_values[order[j + 1]] = da, db
            out_values[order[j + 2]], out_values[order[j + 3]] = dc, dd
            j += 4
        while j < end:
            row, value, dot = grad[row_ids[j]], values[order[j]], zero
            for i in range(width):
                total[i] += value * row[i]
                dot += row[i] * weights[i]
            out_values[order[j]] = dot
            j += 1


@compiled
def norms(first: int, last: int, ids: Array, rows: Array, out: Array) -> None:
    """``out[i] = ‖rows[ids[i]]‖``."""
    for i in range(first, last):
        row = rows[ids[i]]
        total = row.dtype.type(0)
        for d in range(row.shape[0]):
            total += row[d] * row[d]
        out[i] = np.sqrt(total)


@compiled
def transpose(offsets: Array, ids: Array, starts: Array, out_rows: Array, out_order: Array) -> None:
    """Deal entries out by feature, rows ascending; ``starts`` [F] are where each feature's entries go, and move on."""
    for r in range(offsets.shape[0] - 1):
        for j in range(offsets[r], offsets[r + 1]):
            place = starts[ids[j]]
            starts[ids[j]] = place + 1
            out_rows[place] = r
            out_order[place] = j


# --- the optimizer --------------------------------------------------------------------------------------------------


@compiled
def adam(
    first: int, last: int, rows: Array, gradient: Array, W: Array, mean: Array, square: Array, steps: Array,
    rate: float, beta1: float, beta2: float, epsilon: float, factor: float, unit: bool,
) -> None:  # fmt: skip
    """See `reference.adam_rows`; ``gradient[i]`` belongs to row ``rows[i]`` of W."""
    number = W.dtype.type
    width = W.shape[1]
    b1, b2 = number(beta1), number(beta2)
    c1, c2 = number(1.0 - beta1), number(1.0 - beta2)
    small, scale = number(epsilon), number(factor)
    for i in range(first, last):
        r = rows[i]
        w, m, s, g = W[r], mean[r], square[r], gradient[i]
        steps[r] += 1
        step_size = number(rate / (1.0 - beta1 ** steps[r]))
        root = number(1.0 / np.sqrt(1.0 - beta2 ** steps[r]))
        along = number(0)
        if unit:
            for d in range(width):
                along += g[d] * w[d]
        norm = number(0)
        for d in range(width):
            slope = (g[d] - along * w[d]) * scale
            m[d] = b1 * m[d] + c1 * slope
            s[d] = b2 * s[d] + c2 * slope * slope
            moved = w[d] - step_size * m[d] / (np.sqrt(s[d]) * root + small)
            w[d] = moved
            norm += moved * moved
        if unit:
            inverse = number(1) / np.sqrt(norm)
            for d in range(width):
                w[d] *= inverse
