"""The kernels on the CPU: matrix products and gathers by PyTorch, everything else by compiled loops; twins of
`reference`.

What each part costs beside the product is measured by `benchmarks/kernels.py` and kept in docs/LOG.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.kernels import memory
from semascope.kernels import numba_loops as loops
from semascope.kernels.cpu_encode import arrays, encode
from semascope.kernels.pattern import Pattern, Transposed
from semascope.kernels.reference import merge_rows, touched_sums
from semascope.kernels.threads import over_rows

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


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.decode`."""
    return _weighted_sums(pattern.feature_ids, pattern.row_offsets, values_K, W_FD)


def code_gradient(pattern: Pattern, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.code_gradient`."""
    out_K = grad_BD.new_empty(pattern.feature_ids.shape[0])
    over_rows(loops.dots, pattern.n_rows, *arrays(pattern.row_offsets, pattern.feature_ids, grad_BD, W_FD, out_K))
    return out_K


def weight_gradient(pattern: Pattern, values_K: Tensor, dense_BD: Tensor) -> Tensor:
    """See `reference.weight_gradient`."""
    by_feature = pattern.transposed(transpose)
    return _weighted_sums(by_feature.row_ids, by_feature.offsets, values_K[by_feature.order], dense_BD)


def decode_gradients(
    pattern: Pattern, values_K: Tensor, grad_BD: Tensor, W_FD: Tensor, along_T: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `reference.decode_gradients`; one pass over the entries of each feature for both."""
    by_feature = pattern.transposed(transpose)
    groups = len(by_feature.features_T)
    along_T = values_K.new_zeros(groups) if along_T is None else along_T
    grad_values_K = torch.empty_like(values_K)
    grad_W_TD = memory.empty((groups, grad_BD.shape[1]), grad_BD.dtype)
    over_rows(
        loops.decode_gradients, groups,
        *arrays(by_feature.features_T, by_feature.offsets, by_feature.row_ids, by_feature.order),
        *arrays(values_K, grad_BD, W_FD, along_T, grad_values_K, grad_W_TD),
    )  # fmt: skip
    return grad_values_K, grad_W_TD


def row_norms(rows_T: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.row_norms`."""
    out_T = W_FD.new_empty(len(rows_T))
    over_rows(loops.norms, len(rows_T), *arrays(rows_T, W_FD, out_T))
    return out_T


def transpose(pattern: Pattern) -> Transposed:
    """See `reference.transpose`."""
    counts_F = torch.bincount(pattern.feature_ids, minlength=pattern.n_features)
    features_T = counts_F.nonzero().flatten()
    ends_F = counts_F.cumsum(0)
    offsets = torch.cat([ends_F.new_zeros(1), ends_F[features_T]])
    rows_K, order_K = torch.empty_like(pattern.feature_ids), torch.empty_like(pattern.feature_ids)
    loops.transpose(*arrays(pattern.row_offsets, pattern.feature_ids, ends_F - counts_F, rows_K, order_K))
    return Transposed(features_T, offsets, rows_K, order_K)


def adam_rows(
    rows_T: Tensor, gradient_TD: Tensor, W_FD: Tensor, mean_FD: Tensor, square_FD: Tensor, steps_F: Tensor, *,
    rate: float, betas: tuple[float, float], epsilon: float, factor: Tensor, unit_rows: bool,
) -> None:  # fmt: skip
    """See `reference.adam_rows`; one pass over the touched rows."""
    over_rows(
        loops.adam, rows_T.shape[0], *arrays(rows_T, gradient_TD, W_FD, mean_FD, square_FD, steps_F),
        rate, *betas, epsilon, factor.item(), unit_rows,
    )  # fmt: skip


def _weighted_sums(ids_K: Tensor, offsets: Tensor, values_K: Tensor, rows_ND: Tensor) -> Tensor:
    """For each group of entries ``offsets[i]:offsets[i+1]``, the sum of ``value · rows[id]``."""
    groups = len(offsets) - 1
    out = memory.empty((groups, rows_ND.shape[1]), rows_ND.dtype)
    over_rows(loops.weighted_sums, groups, *arrays(offsets, ids_K, values_K, rows_ND, out))
    return out
