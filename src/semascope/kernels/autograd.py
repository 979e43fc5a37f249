"""The two differentiable operations that every variant is made of: encode and decode.

The gradient of a sparse autoencoder lives on its active entries alone, so both directions cost in proportion to the
number of entries, except for the encoder's matrix product itself. Gradients of weights are sparse too: a COO tensor
with the rows of the features that were active (`training.optimizer` takes it as it is).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from semascope.kernels.backend import Precision, kernels_for
from semascope.kernels.pattern import Pattern, Transposed, row_by_row
from semascope.kernels.selection import Selection

# Parts of a long weighted sum of rows that are summed at once.
PARTS_OF_A_SUM = 64

Pick = Callable[[Tensor, Tensor, Tensor, Sequence[Selection], Precision], list[tuple[Pattern, Tensor]]]
"""Computes ``x Wᵀ + b`` and selects: the signature of `reference.encode`."""


def feature_sums(pattern: Pattern, values_K: Tensor) -> Tensor:
    """[F]: the sum of the values of each feature over the batch."""
    return values_K.new_zeros(pattern.n_features).index_add_(0, pattern.feature_ids, values_K)


class _OfEntries(torch.autograd.Function):
    """What belongs to the feature of each entry. PyTorch's own gradient of ``vector_F[ids_K]`` adds with atomics where
    there are many entries: in another order, with other last bits, at every run."""

    @staticmethod
    def forward(ctx: Any, vector_F: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        return vector_F[pattern.feature_ids]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pattern, grad_K = ctx.pattern, gradients[0].contiguous()
        kernels = kernels_for(grad_K)
        features_T = pattern.transposed(kernels.transpose).features_T
        sums_T = kernels.touched_sums(pattern, grad_K)
        return grad_K.new_zeros(pattern.n_features).index_add_(0, features_T, sums_T), None


class _Preactivations(torch.autograd.Function):
    """Makes values that selections picked out of ``(x − centre) Wᵀ + b`` differentiable in centre, W and b."""

    @staticmethod
    def forward(
        ctx: Any, x_BD: Tensor, centre_D: Tensor | None, W_FD: Tensor, b_F: Tensor, patterns: Sequence[Pattern],
        *picked: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        del b_F
        ctx.save_for_backward(x_BD, W_FD)
        ctx.patterns, ctx.centred = patterns, centre_D is not None
        return tuple(pre_K.clone() for pre_K in picked)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_BD, W_FD = ctx.saved_tensors
        # The selections' gradients of a weight are summed by making one pattern of theirs, not one gradient of each.
        pattern, grad_K = row_by_row(ctx.patterns, [gradient.contiguous() for gradient in gradients])
        kernels = kernels_for(grad_K)
        by_feature = pattern.transposed(kernels.transpose)
        grad_b_T = kernels.touched_sums(pattern, grad_K)
        grad_W_TD = kernels.weight_gradient(pattern, grad_K, x_BD)
        # Every row of the batch has the same centre, so its gradient needs one sum of rows, not a matrix product:
        # −Σ_rows grad_pre · W = −(Σ_rows grad_pre) · W.
        grad_centre_D = -_sum_of_rows(by_feature.features_T, grad_b_T, W_FD) if ctx.centred else None
        grad_W_FD = _rows(by_feature, grad_W_TD, W_FD.shape)
        return (
            None,
            grad_centre_D,
            grad_W_FD,
            _rows(by_feature, grad_b_T, W_FD.shape[:1]),
            None,
            *(None,) * len(gradients),
        )


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_K: Tensor, W_FD: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(values_K, W_FD)
        ctx.pattern = pattern
        return kernels_for(values_K).decode(pattern, values_K, W_FD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_BD, pattern = gradients[0].contiguous(), ctx.pattern
        values_K, W_FD = ctx.saved_tensors
        kernels = kernels_for(grad_BD)
        if not ctx.needs_input_grad[1]:
            return kernels.code_gradient(pattern, grad_BD, W_FD), None, None
        if ctx.needs_input_grad[0]:
            grad_values_K, grad_W_TD = kernels.decode_gradients(pattern, values_K, grad_BD, W_FD)
        else:
            grad_values_K, grad_W_TD = None, kernels.weight_gradient(pattern, values_K, grad_BD)
        return grad_values_K, _rows(pattern.transposed(kernels.transpose), grad_W_TD, W_FD.shape), None


class _DecodeWithSizes(torch.autograd.Function):
    """Decode, with the norm of what each entry adds; one gradient of W for both."""

    @staticmethod
    def forward(ctx: Any, values_K: Tensor, W_FD: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        kernels = kernels_for(values_K)
        features_T = pattern.transposed(kernels.transpose).features_T
        norms_T = kernels.row_norms(features_T, W_FD)
        norms_K = W_FD.new_zeros(pattern.n_features).index_copy_(0, features_T, norms_T)[pattern.feature_ids]
        ctx.save_for_backward(values_K, W_FD, norms_T, norms_K)
        ctx.pattern = pattern
        return kernels.decode(pattern, values_K, W_FD), values_K * norms_K

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_BD, grad_sizes_K = gradients[0].contiguous(), gradients[1]
        pattern, kernels = ctx.pattern, kernels_for(grad_BD)
        values_K, W_FD, norms_T, norms_K = ctx.saved_tensors
        # A norm grows along its row.
        along_T = kernels.touched_sums(pattern, grad_sizes_K * values_K)
        along_T = along_T / norms_T.clamp_min(torch.finfo(W_FD.dtype).tiny)
        grad_values_K, grad_W_TD = kernels.decode_gradients(pattern, values_K, grad_BD, W_FD, along_T)
        grad_values_K.addcmul_(grad_sizes_K, norms_K)
        return grad_values_K, _rows(pattern.transposed(kernels.transpose), grad_W_TD, W_FD.shape), None


def of_entries(pattern: Pattern, vector_F: Tensor) -> Tensor:
    """[K]: the number of each entry's feature, differentiable in the numbers; the same bits at every run."""
    return _OfEntries.apply(vector_F, pattern)


def encode(
    x_BD: Tensor, centre_D: Tensor | None, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection], *,
    precision: Precision = "full", pick: Pick | None = None,
) -> list[tuple[Pattern, Tensor]]:  # fmt: skip
    """Pre-activations ``(x − centre) Wᵀ + b`` at the places that each selection keeps.

    Args:
        x_BD: activations; no gradient flows to them.
        centre_D: subtracted from every row, or None.
        W_FD, b_F: the encoder.
        selections: rules applied to the same pre-activations, which are computed once.
        precision: of the matrix product, see `backend.Precision`.
        pick: what computes and selects, in place of the backend of the device.

    Returns:
        For each selection its pattern and the pre-activations [K] there, differentiable in centre, W and b.
    """
    with torch.no_grad():
        centred_BD = x_BD if centre_D is None else x_BD - centre_D
        picked = (pick or kernels_for(x_BD).encode)(centred_BD, W_FD, b_F, selections, precision)
    patterns, values = zip(*picked, strict=True)
    return list(zip(patterns, _Preactivations.apply(centred_BD, centre_D, W_FD, b_F, patterns, *values), strict=True))


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """``codes · W`` [B, D], differentiable in the values and in W."""
    return _Decode.apply(values_K, W_FD, pattern)


def decode_with_sizes(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> tuple[Tensor, Tensor]:
    """`decode`, and the sizes ``value · ‖row of W‖`` [K] of what the entries add; both differentiable in both."""
    return _DecodeWithSizes.apply(values_K, W_FD, pattern)


def _rows(by_feature: Transposed, values_TD: Tensor, shape: torch.Size) -> Tensor:
    """A gradient that is zero but for the rows of the features that have entries."""
    return torch.sparse_coo_tensor(
        by_feature.features_T[None], values_TD, shape, is_coalesced=by_feature.distinct, check_invariants=False
    )


def _sum_of_rows(features_T: Tensor, factors_T: Tensor, W_FD: Tensor) -> Tensor:
    """``Σ_t factors[t] · W[features[t]]``: [D], without a copy of the rows."""
    ends = torch.linspace(0, len(features_T), PARTS_OF_A_SUM + 1, device=features_T.device).long()
    return kernels_for(W_FD).decode(Pattern(ends, features_T, W_FD.shape[0]), factors_T, W_FD).sum(dim=0)
