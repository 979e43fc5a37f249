"""How well codes give the target (an autoencoder's own input): by the whole dictionary, and by nested parts of it.

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

from semascope.kernels import Pattern, decode, decode_with_sizes
from semascope.team import ALONE, Team


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """``loss``: ``‖ŷ − y‖²`` summed over the batch, the mean over prefixes; differentiable.

    ``squared_error``: that of the whole dictionary. ``error_BO``: its ``y − ŷ``. Both without gradient, and of the rows
    that this process sees. ``sizes_K``, where asked for: the norm of what each entry adds, in no particular order;
    differentiable.
    """

    loss: Tensor
    squared_error: Tensor
    error_BO: Tensor
    sizes_K: Tensor | None = None


def reconstruction(
    pattern: Pattern, values_K: Tensor, W_dec_FO: Tensor, b_dec_O: Tensor, target_BO: Tensor, prefixes: Sequence[int],
    team: Team = ALONE, *, with_sizes: bool = False,
) -> Reconstruction:  # fmt: skip
    """Decode codes with each prefix of the dictionary (in features, ascending, the last of them all)."""
    if len(prefixes) > 1:
        pattern, order_K = _by_group(pattern, prefixes)
        values_K = values_K[order_K]
    sizes_K = None
    if with_sizes:
        parts, sizes_K = decode_with_sizes(pattern, values_K, W_dec_FO)
    else:
        parts = decode(pattern, values_K, W_dec_FO)
    return _of_parts(parts.view(len(prefixes), *target_BO.shape), b_dec_O, target_BO, team, sizes_K)


def dense_reconstruction(
    values_BF: Tensor, W_dec_FO: Tensor, b_dec_O: Tensor, target_BO: Tensor, prefixes: Sequence[int],
    team: Team = ALONE,
) -> Reconstruction:  # fmt: skip
    """The same for codes that are not sparse yet."""
    groups = zip([0, *prefixes[:-1]], prefixes, strict=True)
    parts = [values_BF[:, first:last] @ W_dec_FO[first:last] for first, last in groups]
    return _of_parts(torch.stack(parts), b_dec_O, target_BO, team)


def _of_parts(
    parts_GBO: Tensor, b_dec_O: Tensor, target_BO: Tensor, team: Team, sizes_K: Tensor | None = None
) -> Reconstruction:
    parts_GBO = team.sum_features(parts_GBO)
    squared_errors_G, errors_GBO = _SquaredErrors.apply(parts_GBO, b_dec_O, target_BO)
    loss, error_BO = team.sum_rows(squared_errors_G.mean()), -errors_GBO[-1]
    return Reconstruction(loss, squared_errors_G[-1].detach(), error_BO, sizes_K)


def _by_group(pattern: Pattern, prefixes: Sequence[int]) -> tuple[Pattern, Tensor]:
    """The entries as rows g·B + b: those of row b that the g-th prefix has and the one before it lacks.

    Returns the pattern of G·B rows, and the places [K] of its entries in the given one.
    """
    groups_K = torch.zeros_like(pattern.feature_ids)
    for end in prefixes[:-1]:
        groups_K += pattern.feature_ids >= end
    rows_K = groups_K * pattern.n_rows + pattern.row_ids
    order_K = torch.sort(groups_K.to(torch.int8), stable=True).indices
    # As `bincount`, which would make the host wait for a device.
    counts = rows_K.new_zeros(len(prefixes) * pattern.n_rows).index_add_(0, rows_K, torch.ones_like(rows_K))
    return Pattern.from_counts(counts, pattern.feature_ids[order_K], pattern.n_features), order_K


class _SquaredErrors(torch.autograd.Function):
    """``‖b + Σ_{h ≤ g} parts_h − y‖²`` for each g [G], and these errors.

    The parts' memory becomes that of the errors, and then that of their gradient: nothing else needs the parts, and
    fresh memory of this size costs more than the sums.
    """

    @staticmethod
    def forward(ctx: Any, parts_GBO: Tensor, b_O: Tensor, target_BO: Tensor) -> tuple[Tensor, Tensor]:
        errors_GBO = parts_GBO.detach()
        errors_GBO[0] += b_O - target_BO
        for g in range(1, len(errors_GBO)):
            errors_GBO[g] += errors_GBO[g - 1]
        ctx.save_for_backward(errors_GBO)
        ctx.mark_non_differentiable(errors_GBO)
        return torch.stack([torch.linalg.vector_norm(error_BO).square() for error_BO in errors_GBO]), errors_GBO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [errors_GBO] = ctx.saved_tensors
        # A part counts in its own prefix and in all that are larger.
        grad_GBO = errors_GBO.mul_((2.0 * gradients[0])[:, None, None])
        for g in range(len(grad_GBO) - 2, -1, -1):
            grad_GBO[g] += grad_GBO[g + 1]
        grad_target_BO = -grad_GBO[0] if ctx.needs_input_grad[2] else None
        return grad_GBO, grad_GBO[0].sum(dim=0), grad_target_BO
