"""The kernels in plain dense PyTorch: slow, short, on any device and in any precision. They are the truth.

B rows, D width, F features, K entries of a pattern. Weights are stored feature-major, [F, D], so that a feature's
row is contiguous in memory for every kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Selection


def encode(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection]) -> list[tuple[Pattern, Tensor]]:
    """Pre-activations ``x Wᵀ + b``, of which each selection keeps some: a pattern and its values [K] for each."""
    pre_BF = x_BD @ W_FD.T + b_F
    return [Pattern.joined([selection.select(pre_BF)], W_FD.shape[0]) for selection in selections]


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """``codes · W``: [B, D], the weighted sum of the rows of W that are active in each row of the batch."""
    return pattern.codes(values_K).to_dense() @ W_FD


def code_gradient(pattern: Pattern, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """``⟨grad row, W row⟩`` for each entry of the pattern: [K], the gradient of `decode` in its values."""
    return (grad_BD @ W_FD.T)[pattern.row_ids, pattern.feature_ids]


def weight_gradient(pattern: Pattern, values_K: Tensor, dense_BD: Tensor) -> Tensor:
    """``codesᵀ · dense``: [F, D], the gradient of `decode` in W, and of the pre-activations in the encoder's W."""
    return pattern.codes(values_K).to_dense().T @ dense_BD
