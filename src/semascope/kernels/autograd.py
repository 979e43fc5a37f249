"""The two differentiable operations that every variant is made of: encode and decode.

The gradient of a sparse autoencoder lives on its active entries alone, so both directions cost in proportion to the
number of entries, except for the encoder's matrix product itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from semascope.kernels import cpu, reference
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Selection


def kernels_for(tensor: Tensor) -> ModuleType:
    """The fastest implementation for the tensor's device: `cpu`, else the `reference`."""
    return cpu if tensor.device.type == "cpu" else reference


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
        grad_K = gradients[0]
        x_BD, W_FD = ctx.saved_tensors
        grad_b_F = feature_sums(ctx.pattern, grad_K)
        grad_W_FD = kernels_for(grad_K).weight_gradient(ctx.pattern, grad_K, x_BD)
        # Every row of the batch has the same centre, so its gradient needs one matrix-vector product, not a matrix
        # product: −Σ_rows grad_pre · W = −(Σ_rows grad_pre) · W.
        grad_centre_D = -(grad_b_F @ W_FD) if ctx.centred else None
        return None, None, grad_centre_D, grad_W_FD, grad_b_F, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_K: Tensor, W_FD: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(values_K, W_FD)
        ctx.pattern = pattern
        return kernels_for(values_K).decode(pattern, values_K, W_FD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_BD = gradients[0].contiguous()
        values_K, W_FD = ctx.saved_tensors
        kernels = kernels_for(grad_BD)
        grad_values_K = kernels.code_gradient(ctx.pattern, grad_BD, W_FD) if ctx.needs_input_grad[0] else None
        grad_W_FD = kernels.weight_gradient(ctx.pattern, values_K, grad_BD) if ctx.needs_input_grad[1] else None
        return grad_values_K, grad_W_FD, None


def encode(
    x_BD: Tensor, centre_D: Tensor | None, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection]
) -> list[tuple[Pattern, Tensor]]:
    """Pre-activations ``(x − centre) Wᵀ + b`` at the places that each selection keeps.

    Args:
        x_BD: activations; no gradient flows to them.
        centre_D: subtracted from every row, or None.
        W_FD, b_F: the encoder.
        selections: rules applied to the same pre-activations, which are computed once.

    Returns:
        For each selection its pattern and the pre-activations [K] there, differentiable in centre, W and b.
    """
    with torch.no_grad():
        centred_BD = x_BD if centre_D is None else x_BD - centre_D
        picked = kernels_for(x_BD).encode(centred_BD, W_FD, b_F, selections)
    return [
        (pattern, _Preactivations.apply(pre_K, centred_BD, centre_D, W_FD, b_F, pattern)) for pattern, pre_K in picked
    ]


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """``codes · W`` [B, D], differentiable in the values and in W."""
    return _Decode.apply(values_K, W_FD, pattern)
