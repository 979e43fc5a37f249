"""The kernels on a GPU: matrix products by PyTorch, everything else by Triton; twins of `reference`.

Nothing here waits for the device, so the host runs ahead of it, but for `encode` where the number of entries is the
data's (see `gpu_encode`). Sizes that only the device knows are replaced by bounds that the host knows: a transposed
pattern lists as many features as could have entries, and fills up with repeats (see `transpose`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semascope.kernels import triton_loops as loops
from semascope.kernels.gpu_encode import encode
from semascope.kernels.pattern import Pattern, Transposed
from semascope.kernels.reference import add_rows, row_norms
from semascope.kernels.triton_launch import LONG, column_blocks, dots, launch, power_of_two

__all__ = [
    "adam_rows",
    "code_gradient",
    "decode",
    "decode_gradients",
    "encode",
    "merge_rows",
    "row_norms",
    "touched_sums",
    "transpose",
    "weight_gradient",
]

# Numbers in the tile of an optimizer program, and rows at most.
TILE, MOST_ROWS = 2048, 128


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.decode`."""
    out_BD = W_FD.new_empty(pattern.n_rows, W_FD.shape[1])
    starts, ends = pattern.row_offsets[:-1], pattern.row_offsets[1:]
    _weighted_sums(starts, ends, pattern.feature_ids, values_K, W_FD, out_BD)
    return out_BD


def code_gradient(pattern: Pattern, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.code_gradient`."""
    return dots(pattern.row_ids, pattern.feature_ids, grad_BD, W_FD)


def weight_gradient(pattern: Pattern, values_K: Tensor, dense_BD: Tensor) -> Tensor:
    """See `reference.weight_gradient`."""
    return _by_feature(pattern, values_K, dense_BD, None)[0]


def decode_gradients(
    pattern: Pattern, values_K: Tensor, grad_BD: Tensor, W_FD: Tensor, along_T: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `reference.decode_gradients`: both need the same rows of the gradient, which are gathered once."""
    grad_W_TD, grad_values_K = _by_feature(pattern, values_K, grad_BD, W_FD)
    assert grad_values_K is not None
    if along_T is not None:
        add_rows(grad_W_TD, along_T, pattern.transposed(transpose).features_T, W_FD)
    return grad_values_K, grad_W_TD


def touched_sums(pattern: Pattern, values_K: Tensor) -> Tensor:
    """See `reference.touched_sums`."""
    by_feature = pattern.transposed(transpose)
    out_T = values_K.new_empty(by_feature.features_T.shape[0])
    values_K = values_K[by_feature.order]
    launch(loops.group_sums, out_T.shape, by_feature.offsets, values_K, out_T, ENTRIES=32, num_warps=1)
    return out_T


def transpose(pattern: Pattern) -> Transposed:
    """The entries grouped by feature, for as many features as may have any.

    How many have some is known to the device alone. What is missing to the bound is filled with repeats of the features
    that do, evenly, without entries: gradients have rows of zeros there, and as a sum of its rows each is right.
    """
    ids_K, n_features = pattern.feature_ids, pattern.n_features
    entries, device = ids_K.shape[0], ids_K.device
    # Keys of four bytes are sorted in half the time.
    sorted_K, order_K = torch.sort(ids_K.int(), stable=True)
    all_F = torch.arange(n_features + 1, device=device)
    starts = torch.searchsorted(sorted_K, all_F.int())
    touched_F = starts.diff() > 0
    ranks_F = touched_F.cumsum(0)
    n_touched = ranks_F[-1:]
    bound = min(n_features, entries, n_features if pattern.touchable is None else pattern.touchable)
    places_T = torch.arange(bound, device=device)
    # Features without entries go to a place past the end.
    touched_first = torch.zeros(bound + 1, dtype=torch.int64, device=device)
    touched_first.scatter_(0, torch.where(touched_F, ranks_F - 1, bound), all_F[:-1])
    features_T = touched_first[places_T % n_touched.clamp_min(1)]
    offsets = torch.full((bound + 1,), entries, dtype=torch.int64, device=device)
    offsets[:bound] = torch.where(places_T < n_touched, starts[features_T], entries)
    return Transposed(features_T, offsets, pattern.row_ids[order_K], order_K, distinct=False)


def merge_rows(rows_T: Tensor, gradient_TD: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """See `reference.merge_rows`; in place, and without a look at the result: of rows that are repeated all but one
    become −1, which means nothing, and zero."""
    if not len(rows_T):
        return rows_T, gradient_TD
    single = Pattern(torch.arange(len(rows_T) + 1, device=rows_T.device), rows_T, n_rows)
    by_row, width = transpose(single), gradient_TD.shape[1]
    rows_T, gradient_TD = rows_T.clone(), gradient_TD.contiguous()
    columns = min(1024, power_of_two(width))
    grid = (by_row.features_T.shape[0], -(-width // columns))
    launch(
        loops.merge_repeats, grid, by_row.offsets, by_row.order, rows_T, gradient_TD, width, ENTRIES=2, COLUMNS=columns
    )
    return rows_T, gradient_TD


def adam_rows(
    rows_T: Tensor, gradient_TD: Tensor, W_FD: Tensor, mean_FD: Tensor, square_FD: Tensor, steps_F: Tensor, *,
    rate: float, betas: tuple[float, float], epsilon: float, factor: Tensor, unit_rows: bool,
) -> None:  # fmt: skip
    """See `reference.adam_rows`; each number is read once and written once. Rows of −1 are left out."""
    n_rows, width = gradient_TD.shape
    columns = power_of_two(width)
    rows = max(1, min(MOST_ROWS, TILE // columns))
    launch(
        loops.adam, (-(-n_rows // rows),), rows_T, gradient_TD, W_FD, mean_FD, square_FD, steps_F, factor, n_rows,
        width, rate, 1.0 - betas[0], 1.0 - betas[1], BETA1=betas[0], BETA2=betas[1], LOG_BETA1=_log(betas[0]),
        LOG_BETA2=_log(betas[1]), EPSILON=epsilon, UNIT=unit_rows, ROWS=rows, COLUMNS=columns,
        num_warps=8 if columns >= TILE else 4,
    )  # fmt: skip


def _log(beta: float) -> float:
    return math.log(max(beta, 1e-300))


def _by_feature(
    pattern: Pattern, values_K: Tensor, dense_BD: Tensor, W_FD: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """For each feature with entries the sum of ``value · dense row`` [T, D], and, where W is given, ``⟨dense row, W
    row⟩`` of each entry [K]. A feature with more than LONG entries is summed in parts."""
    by_feature, entries, width = pattern.transposed(transpose), values_K.shape[0], dense_BD.shape[1]
    n_touched = by_feature.features_T.shape[0]
    starts_T, ends_T = by_feature.offsets[:-1], by_feature.offsets[1:]
    factors_K = values_K[by_feature.order]
    columns = column_blocks(dense_BD)
    partials = values_K.new_empty(-(-width // columns), entries) if W_FD is not None else None

    # Further parts of long groups: as many as there can be, each with its group (the last ones may be empty).
    most = entries // LONG
    further_T = ((ends_T - starts_T - 1).clamp_min(0)) // LONG
    extra_offsets = torch.cat([further_T.new_zeros(1), further_T.cumsum(0)])
    parts_E = torch.arange(most, device=values_K.device)
    groups_E = (torch.searchsorted(extra_offsets, parts_E, right=True) - 1).clamp(0, max(0, n_touched - 1))
    extra_ED = dense_BD.new_empty(most, width, dtype=values_K.dtype)
    if most:
        part_starts_E = starts_T[groups_E] + LONG * (parts_E - extra_offsets[groups_E] + 1)
        part_ends_E = torch.minimum(part_starts_E + LONG, ends_T[groups_E])
        _weighted_sums(
            part_starts_E, part_ends_E, by_feature.row_ids, factors_K, dense_BD, extra_ED, columns=columns,
            dots=partials, own=W_FD, owners=by_feature.features_T[groups_E], order=by_feature.order,
        )  # fmt: skip
    out_TD = values_K.new_empty(n_touched, width)
    _weighted_sums(
        starts_T, torch.minimum(starts_T + LONG, ends_T), by_feature.row_ids, factors_K, dense_BD, out_TD,
        columns=columns, dots=partials, own=W_FD, owners=by_feature.features_T, order=by_feature.order,
        extra=(extra_offsets, extra_ED) if most else None,
    )  # fmt: skip
    return out_TD, None if partials is None else partials.sum(dim=0)


def _weighted_sums(
    starts: Tensor, ends: Tensor, ids_K: Tensor, factors_K: Tensor, rows_ND: Tensor, out: Tensor, *,
    columns: int | None = None, extra: tuple[Tensor, Tensor] | None = None, dots: Tensor | None = None,
    own: Tensor | None = None, owners: Tensor | None = None, order: Tensor | None = None,
) -> None:  # fmt: skip
    """Launch `loops.weighted_sums`; what it does not need may be any tensor."""
    columns = columns or column_blocks(rows_ND)
    grid = (out.shape[0], -(-out.shape[1] // columns))
    extra_offsets, extra_rows = extra or (starts, out)
    launch(
        loops.weighted_sums, grid, starts, ends, ids_K, factors_K, rows_ND, extra_offsets, extra_rows,
        starts if owners is None else owners, rows_ND if own is None else own, starts if order is None else order,
        out if dots is None else dots, out, out.shape[1], ids_K.shape[0],
        EXTRA=extra is not None, DOTS=dots is not None, ENTRIES=max(1, min(16, 4096 // columns)), COLUMNS=columns,
    )  # fmt: skip
