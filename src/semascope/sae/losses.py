"""What the variants' losses are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semascope.team import ALONE, Team


class _SquaredError(torch.autograd.Function):
    """Keeps one tensor of the size of the batch, and reuses it for the gradient."""

    @staticmethod
    def forward(ctx: Any, reconstruction_BD: Tensor, target_BD: Tensor) -> Tensor:
        error_BD = reconstruction_BD - target_BD
        ctx.save_for_backward(error_BD)
        return torch.linalg.vector_norm(error_BD).square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [error_BD] = ctx.saved_tensors
        return error_BD * (2.0 * gradients[0]), None


def squared_error(reconstruction_BD: Tensor, target_BD: Tensor) -> Tensor:
    """``‖x̂ − x‖²``, summed over the batch; differentiable in the reconstruction."""
    return _SquaredError.apply(reconstruction_BD, target_BD)


@torch.no_grad()
def fitting_factor(found_BD: Tensor, target_BD: Tensor, team: Team = ALONE) -> Tensor:
    """The factor by which ``found`` comes nearest to the target, by least squares; 1 where it points away from it.

    Over the rows of all where others of the ``team`` see the rest of the batch; without gradient.
    """
    agreement, size = team.sum_rows((found_BD * target_BD).sum()), team.sum_rows(found_BD.square().sum())
    return torch.where(agreement > 0, agreement / size, 1.0)


def squared_deviation(x_BD: Tensor, rows: int | None = None, team: Team = ALONE) -> Tensor:
    """``Σ ‖x − mean(x)‖²`` over the batch: what a dictionary that knows only the mean leaves unexplained.

    ``rows``: of the whole batch, where others of the team see the rest of it.
    """
    squares, sum_D = team.sum_rows(torch.linalg.vector_norm(x_BD).square()), team.sum_rows(x_BD.sum(dim=0))
    return squares - sum_D.square().sum() / (rows or len(x_BD))
