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
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Selection

# Parts of a long weighted sum of rows that are summed at once.
PARTS_OF_A_SUM = 64

Pick = Callable[[Tensor, Tensor, Tensor, Sequence[Selection], Precision], list[tuple[Pattern, Tensor]]]
"""Computes ``x Wᵀ + b`` and selects: the signature of `reference.encode`."""


def feature_sums(pattern: Pattern, values_K: Tensor) -> Tensor:
    """[F]: the sum of the values of each feature over the batch."""
    return values_K.new_zeros(pattern.n_features).index_add_(0, pattern.feature_ids, values_K)


class _Preactivations(torch.autograd.Function):
    """Makes values that were picked out of ``(x − centre) Wᵀ + b`` differentiable in centre, W and b."""

    @staticmethod
    def forward(
        ctx: Any, pre_K: Tensor, x_BD: Tensor, centre_D: Tensor | None, W_FD: Tensor, b_F: Tensor, pattern: Pattern
    ) -> Tensor:
        del b_F
        ctx.save_for_backward(x_BD, W_FD)
        ctx.pattern, ctx.centred = pattern, centre_D is not None
        return pre_K.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_K, pattern = gradients[0].contiguous(), ctx.pattern
        x_BD, W_FD = ctx.saved_tensors
        features_T = pattern.transposed.features_T
        grad_b_T = feature_sums(pattern, grad_K)[features_T]
        grad_W_TD = kernels_for(grad_K).weight_gradient(pattern, grad_K, x_BD)
        # Every row of the batch has the same centre, so its gradient needs one sum of rows, not a matrix product:
        # −Σ_rows grad_pre · W = −(Σ_rows grad_pre) · W.
        grad_centre_D = -_sum_of_rows(features_T, grad_b_T, W_FD) if ctx.centred else None
        grad_W_FD = _rows(features_T, grad_W_TD, W_FD.shape)
        return None, None, grad_centre_D, grad_W_FD, _rows(features_T, grad_b_T, W_FD.shape[:1]), None


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
        grad_values_K = kernels.code_gradient(pattern, grad_BD, W_FD) if ctx.needs_input_grad[0] else None
        grad_W_FD = None
        if ctx.needs_input_grad[1]:
            grad_W_TD = kernels.weight_gradient(pattern, values_K, grad_BD)
            grad_W_FD = _rows(pattern.transposed.features_T, grad_W_TD, W_FD.shape)
        return grad_values_K, grad_W_FD, None


class _Norms(torch.autograd.Function):
    """The norms of the rows of W, at each entry."""

    @staticmethod
    def forward(ctx: Any, W_FD: Tensor, pattern: Pattern) -> Tensor:
        features_T = pattern.transposed.features_T
        norms_F = W_FD.norm(dim=1)
        ctx.save_for_backward(W_FD, norms_F[features_T])
        ctx.pattern = pattern
        return norms_F[pattern.feature_ids]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pattern = ctx.pattern
        W_FD, norms_T = ctx.saved_tensors
        features_T = pattern.transposed.features_T
        factors_T = feature_sums(pattern, gradients[0])[features_T] / norms_T.clamp_min(torch.finfo(W_FD.dtype).tiny)
        return _rows(features_T, factors_T[:, None] * W_FD[features_T], W_FD.shape), None


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
    return [
        (pattern, _Preactivations.apply(pre_K, centred_BD, centre_D, W_FD, b_F, pattern)) for pattern, pre_K in picked
    ]


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """``codes · W`` [B, D], differentiable in the values and in W."""
    return _Decode.apply(values_K, W_FD, pattern)


def row_norms(pattern: Pattern, W_FD: Tensor) -> Tensor:
    """[K]: ``‖row of W‖`` of each entry's feature, differentiable in W."""
    return _Norms.apply(W_FD, pattern)


def _rows(features_T: Tensor, values_TD: Tensor, shape: torch.Size) -> Tensor:
    """A gradient that is zero but for some rows."""
    return torch.sparse_coo_tensor(features_T[None], values_TD, shape, is_coalesced=True, check_invariants=False)


def _sum_of_rows(features_T: Tensor, factors_T: Tensor, W_FD: Tensor) -> Tensor:
    """``Σ_t factors[t] · W[features[t]]``: [D], without a copy of the rows."""
    ends = torch.linspace(0, len(features_T), PARTS_OF_A_SUM + 1, device=features_T.device).long()
    return kernels_for(W_FD).decode(Pattern(ends, features_T, W_FD.shape[0]), factors_T, W_FD).sum(dim=0)
