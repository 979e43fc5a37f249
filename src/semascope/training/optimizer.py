"""Adam over the rows that a batch touched.

A batch gives gradients to the features that were active in it. Rows of other features stay as they are, moments
included, and each row counts its own steps for the bias correction: a feature's state depends on the batches that it
was active in, however wide the dictionary around it. Where every batch touches every row, this is Adam as published.
The work is proportional to the rows touched, which is what makes a million features trainable on a CPU.

The gradient is clipped by its norm over all parameters (Scaling Monosemanticity clips to 1), before the part that would
only change the norm of unit rows is taken out (Bricken et al., "Towards Monosemanticity", 2023).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from semascope.kernels import kernels_for
from semascope.kernels.memory import zeros_like
from semascope.sae import by_feature
from semascope.team import ALONE, Team


class RowAdam:
    """Adam with row-sparse updates; a parameter of one dimension is a column of rows of width 1."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        unit_rows: Collection[str] = (),
        rate_factors: Mapping[str, float] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        clip: float = 1.0,
        team: Team = ALONE,
    ) -> None:
        """``unit_rows``: the parameters whose rows keep norm 1. ``rate_factors``: how much faster some of them move.

        ``team``: who has the other rows of the parameters, and sees the other rows of the batches.
        """
        self._parameters = dict(parameters)
        self._unit_rows, self._betas, self._epsilon, self._clip = unit_rows, betas, epsilon, clip
        self._rate_factors, self._team = rate_factors or {}, team
        # Rows that are never touched take no memory.
        self._means = {name: zeros_like(p) for name, p in self._parameters.items()}
        self._squares = {name: zeros_like(p) for name, p in self._parameters.items()}
        self._steps = {
            name: torch.zeros(len(p), dtype=torch.int32, device=p.device) for name, p in self._parameters.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> Tensor:
        """Move the parameters against their gradients, and forget these; return the gradient's norm before clipping."""
        self._team.sum_gradients(self._parameters.values())
        gradients = {name: _rows(p.grad) for name, p in self._parameters.items() if p.grad is not None}
        norms = [torch.linalg.vector_norm(gradient_TD) for _, gradient_TD in gradients.values()]
        norm = self._team.norm(norms, [by_feature(name) for name in gradients])
        factor = (self._clip / norm).clamp(max=1.0)
        for name, (rows_T, gradient_TD) in gradients.items():
            parameter, own_rate = self._parameters[name], rate * self._rate_factors.get(name, 1.0)
            kernels_for(parameter).adam_rows(
                rows_T, gradient_TD, *(_as_rows(t) for t in (parameter, self._means[name], self._squares[name])),
                self._steps[name], rate=own_rate, betas=self._betas, epsilon=self._epsilon, factor=factor,
                unit_rows=name in self._unit_rows,
            )  # fmt: skip
            parameter.grad = None
        return norm

    def forget(self, features_T: Tensor) -> None:
        """Take these features as new: nothing is known of their gradients."""
        for tensors in (self._means, self._squares, self._steps):
            for name, tensor in tensors.items():
                if by_feature(name):
                    tensor[features_T] = 0

    def release(self) -> None:
        """Give the memory of the moments back, when the last step is done."""
        for tensors in (self._means, self._squares, self._steps):
            tensors.clear()

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by name, from which `restore` goes on."""
        kinds = {"mean": self._means, "square": self._squares, "steps": self._steps}
        return {f"{name}/{kind}": t for kind, tensors in kinds.items() for name, t in tensors.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` took."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def _rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that a gradient touches, and its values there as [T, D]."""
    if not gradient.is_sparse:
        return torch.arange(len(gradient), device=gradient.device), _as_rows(gradient).contiguous()
    # Several uses of a parameter repeat rows (autograd forgets whether its gradient is coalesced).
    return kernels_for(gradient).merge_rows(gradient._indices()[0], _as_rows(gradient._values()), len(gradient))


def _as_rows(tensor: Tensor) -> Tensor:
    return tensor.detach().view(len(tensor), -1)
