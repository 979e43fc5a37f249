"""The kernels in plain dense PyTorch: slow, short, on any device and in any precision. They are the truth.

B rows, D width, F features, K entries of a pattern, T features that have entries. Weights are stored feature-major,
[F, D], so that a feature's row is contiguous in memory for every kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semascope.kernels.pattern import Pattern, Transposed
from semascope.kernels.selection import Above, BatchTopK, Selection, TopK

# Rows of a weight that are gathered at a time: few enough for a processor's caches.
ROWS_AT_ONCE = 2048


def encode(
    x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection], precision: str = "full"
) -> list[tuple[Pattern, Tensor]]:
    """Pre-activations ``x Wᵀ + b``, of which each selection keeps some: a pattern and its values [K] for each."""
    del precision
    pre_BF = x_BD @ W_FD.T + b_F
    kept: list[tuple[Pattern, Tensor]] = []
    for selection in selections:
        mask_BF = select(pre_BF, selection)
        pattern = Pattern.from_counts(mask_BF.sum(dim=1), mask_BF.nonzero()[:, 1], W_FD.shape[0])
        kept.append((pattern, pre_BF[mask_BF]))
    return kept


def select(pre_BF: Tensor, selection: Selection) -> Tensor:
    """bool [B, F]: which pre-activations a selection keeps."""
    match selection:
        case Above(threshold):
            return pre_BF > threshold
        case BatchTopK(k, likely, below_too):
            positive_K = pre_BF[pre_BF > (0 if below_too else likely)]
            wanted = min(k * pre_BF.shape[0], len(positive_K))
            least = positive_K.topk(wanted).values[-1] if wanted else torch.inf
            return pre_BF >= least
        case TopK(k, among_F):
            candidates_BF = pre_BF
            if among_F is not None:
                candidates_BF = torch.full_like(pre_BF, -torch.inf)
                candidates_BF[:, among_F] = pre_BF[:, among_F]
            k = min(k, pre_BF.shape[1] if among_F is None else len(among_F))
            mask_BF = torch.zeros_like(pre_BF, dtype=torch.bool)
            return mask_BF.scatter_(1, candidates_BF.topk(k).indices, True)


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """``codes · W``: [B, D], the weighted sum of the rows of W that are active in each row of the batch."""
    return pattern.codes(values_K).to_dense() @ W_FD


def code_gradient(pattern: Pattern, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """``⟨grad row, W row⟩`` for each entry of the pattern: [K], the gradient of `decode` in its values."""
    return (grad_BD @ W_FD.T)[pattern.row_ids, pattern.feature_ids]


def weight_gradient(pattern: Pattern, values_K: Tensor, dense_BD: Tensor) -> Tensor:
    """The rows of ``codesᵀ · dense`` that belong to features with entries (`transpose`): [T, D].

    It is the gradient of `decode` in W, and of the pre-activations in the encoder's W; all other rows are zero.
    """
    return (pattern.codes(values_K).to_dense().T @ dense_BD)[pattern.transposed(transpose).features_T]


def decode_gradients(
    pattern: Pattern, values_K: Tensor, grad_BD: Tensor, W_FD: Tensor, along_T: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both gradients of `decode`: in the values [K], and in W [T, D], to which ``along · W row`` is added."""
    grad_W_TD = weight_gradient(pattern, values_K, grad_BD)
    if along_T is not None:
        add_rows(grad_W_TD, along_T, pattern.transposed(transpose).features_T, W_FD)
    return code_gradient(pattern, grad_BD, W_FD), grad_W_TD


def touched_sums(pattern: Pattern, values_K: Tensor) -> Tensor:
    """[T]: the sum of the values of each feature with entries."""
    sums_F = values_K.new_zeros(pattern.n_features).index_add_(0, pattern.feature_ids, values_K)
    return sums_F[pattern.transposed(transpose).features_T]


def row_norms(rows_T: Tensor, W_FD: Tensor) -> Tensor:
    """[T]: the norms of some rows of W."""
    return torch.cat([W_FD[part_T].norm(dim=1) for part_T in rows_T.split(ROWS_AT_ONCE)])


def add_rows(out_TD: Tensor, factors_T: Tensor, rows_T: Tensor, W_FD: Tensor) -> None:
    """``out[t] += factors[t] · W[rows[t]]``, in place."""
    for first in range(0, len(rows_T), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        out_TD[part].addcmul_(W_FD[rows_T[part]], factors_T[part, None])


def transpose(pattern: Pattern) -> Transposed:
    """The entries of a pattern grouped by feature."""
    order_K = torch.sort(pattern.feature_ids, stable=True).indices
    features_T, counts_T = pattern.feature_ids.unique(return_counts=True)
    offsets = torch.cat([counts_T.new_zeros(1), counts_T.cumsum(0)])
    return Transposed(features_T, offsets, pattern.row_ids[order_K], order_K)


def merge_rows(rows_T: Tensor, gradient_TD: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """A gradient's rows, each once and ascending: one use of a parameter gives them so, several uses do not."""
    if bool((rows_T[1:] > rows_T[:-1]).all()):
        return rows_T, gradient_TD
    shape = (n_rows, gradient_TD.shape[1])
    merged = torch.sparse_coo_tensor(rows_T[None], gradient_TD, shape, check_invariants=False).coalesce()
    return merged.indices()[0], merged.values()


def adam_rows(
    rows_T: Tensor, gradient_TD: Tensor, W_FD: Tensor, mean_FD: Tensor, square_FD: Tensor, steps_F: Tensor, *,
    rate: float, betas: tuple[float, float], epsilon: float, factor: Tensor, unit_rows: bool,
) -> None:  # fmt: skip
    """One step of Adam (Kingma and Ba, 2015) on the rows ``rows_T`` of W, in place; each row counts its own steps.

    Args:
        rows_T, gradient_TD: the rows and their gradient, which is multiplied with ``factor``.
        W_FD, mean_FD, square_FD, steps_F: the parameter, Adam's moments, and how many steps each row has seen.
        unit_rows: whether rows have norm 1: what of the gradient would only change the norm is then taken out of it,
            and the norm is restored afterwards.
    """
    weights_TD = W_FD[rows_T]
    if unit_rows:
        gradient_TD = gradient_TD - (gradient_TD * weights_TD).sum(dim=1, keepdim=True) * weights_TD
    gradient_TD = gradient_TD * factor
    steps_T = steps_F[rows_T] + 1
    mean_TD = betas[0] * mean_FD[rows_T] + (1 - betas[0]) * gradient_TD
    square_TD = betas[1] * square_FD[rows_T] + (1 - betas[1]) * gradient_TD.square()
    exponents_T1 = steps_T.to(W_FD.dtype)[:, None]
    unbiased_TD = mean_TD / (1 - betas[0] ** exponents_T1)
    deviation_TD = (square_TD / (1 - betas[1] ** exponents_T1)).sqrt() + epsilon
    weights_TD = weights_TD - rate * unbiased_TD / deviation_TD
    if unit_rows:
        weights_TD = weights_TD / weights_TD.norm(dim=1, keepdim=True)
    W_FD[rows_T], mean_FD[rows_T], square_FD[rows_T], steps_F[rows_T] = weights_TD, mean_TD, square_TD, steps_T
