"""How well codes give the activations back: by the whole dictionary, and by nested parts of it.

Matryoshka dictionaries (Bussmann et al., "Learning Multi-Level Features with Matryoshka Sparse Autoencoders", 2025)
have to reconstruct with their first features alone too, for several sizes of prefix: general features go first, and do
not dissolve into special ones. It is a matter of the loss, so any variant can do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.kernels import Pattern, decode


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """``loss``: ``‖x̂ − x‖²`` summed over the batch, the mean over prefixes; differentiable.

    ``squared_error``: that of the whole dictionary. ``error_BD``: its ``x − x̂``. Both without gradient.
    """

    loss: Tensor
    squared_error: Tensor
    error_BD: Tensor


def reconstruction(
    pattern: Pattern, values_K: Tensor, W_dec_FD: Tensor, b_dec_D: Tensor, x_BD: Tensor, prefixes: Sequence[int]
) -> Reconstruction:
    """Decode codes with each prefix of the dictionary (in features, ascending, the last of them all)."""
    n_groups = len(prefixes)
    if n_groups == 1:
        return _of_parts(decode(pattern, values_K, W_dec_FD)[None], b_dec_D, x_BD)
    grouped, order_K = _by_group(pattern, prefixes)
    return _of_parts(decode(grouped, values_K[order_K], W_dec_FD).view(n_groups, *x_BD.shape), b_dec_D, x_BD)


def dense_reconstruction(
    values_BF: Tensor, W_dec_FD: Tensor, b_dec_D: Tensor, x_BD: Tensor, prefixes: Sequence[int]
) -> Reconstruction:
    """The same for codes that are not sparse yet."""
    groups = zip([0, *prefixes[:-1]], prefixes, strict=True)
    parts = [values_BF[:, first:last] @ W_dec_FD[first:last] for first, last in groups]
    return _of_parts(torch.stack(parts), b_dec_D, x_BD)


def _of_parts(parts_GBD: Tensor, b_dec_D: Tensor, x_BD: Tensor) -> Reconstruction:
    squared_errors_G, errors_GBD = _SquaredErrors.apply(parts_GBD, b_dec_D, x_BD)
    return Reconstruction(squared_errors_G.mean(), squared_errors_G[-1].detach(), -errors_GBD[-1])


def _by_group(pattern: Pattern, prefixes: Sequence[int]) -> tuple[Pattern, Tensor]:
    """The entries as rows g·B + b: those of row b that the g-th prefix has and the one before it lacks.

    Returns the pattern of G·B rows, and the places [K] of its entries in the given one.
    """
    ends = torch.tensor(prefixes, device=pattern.feature_ids.device)
    groups_K = torch.bucketize(pattern.feature_ids, ends, right=True)
    rows_K = groups_K * pattern.n_rows + pattern.row_ids
    order_K = torch.sort(groups_K.to(torch.int8), stable=True).indices
    counts = torch.bincount(rows_K, minlength=len(prefixes) * pattern.n_rows)
    return Pattern.from_counts(counts, pattern.feature_ids[order_K], pattern.n_features), order_K


class _SquaredErrors(torch.autograd.Function):
    """``‖b + Σ_{h ≤ g} parts_h − x‖²`` for each g [G], and these errors.

    The parts' memory becomes that of the errors, and then that of their gradient: nothing else needs the parts, and
    fresh memory of this size costs more than the sums.
    """

    @staticmethod
    def forward(ctx: Any, parts_GBD: Tensor, b_D: Tensor, x_BD: Tensor) -> tuple[Tensor, Tensor]:
        errors_GBD = parts_GBD.detach()
        errors_GBD[0] += b_D - x_BD
        for g in range(1, len(errors_GBD)):
            errors_GBD[g] += errors_GBD[g - 1]
        ctx.save_for_backward(errors_GBD)
        ctx.mark_non_differentiable(errors_GBD)
        return torch.stack([torch.linalg.vector_norm(error_BD).square() for error_BD in errors_GBD]), errors_GBD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [errors_GBD] = ctx.saved_tensors
        # A part counts in its own prefix and in all that are larger.
        grad_GBD = errors_GBD.mul_((2.0 * gradients[0])[:, None, None])
        for g in range(len(grad_GBD) - 2, -1, -1):
            grad_GBD[g] += grad_GBD[g + 1]
        return grad_GBD, grad_GBD[0].sum(dim=0), None
