"""The processes that work on one training together, as the mathematics sees them.

Features are divided among ``feature_parts`` processes and the rows of a batch among ``row_parts``; every combination of
a part of the features with a part of the rows is one process. Here is the team of one, which has everything and
exchanges nothing; `semascope.training.distributed` has the others.

Gradients: every process computes the same loss, out of sums over the team. The gradient of such a sum is handed to each
process's own part as it is, so that each has the gradient of its own features, from its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")
Key = TypeVar("Key")
Value = TypeVar("Value")


def part_of(length: int, part: int, parts: int) -> tuple[int, int]:
    """First and last (exclusive) of one of ``parts`` consecutive parts of about the same length."""
    return part * length // parts, (part + 1) * length // parts


class Team:
    """A single process. Its numbers are those of a training that knows no teams, bit for bit."""

    size, rank = 1, 0
    feature_parts, feature_part = 1, 0
    row_parts, row_part = 1, 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes to disk and talks to people."""
        return self.rank == 0

    def held(self, features: int) -> tuple[int, int]:
        """First and last (exclusive) of so many features that this process has: a consecutive part."""
        return part_of(features, self.feature_part, self.feature_parts)

    def rows(self, n_rows: int) -> slice:
        """Which rows of a batch this process sees."""
        return slice(*part_of(n_rows, self.row_part, self.row_parts))

    # --- sums, whose gradient is that of each process's own part -----------------------------------------------------

    def sum_features(self, partial: Tensor) -> Tensor:
        """The sum over those that have the other features."""
        return partial

    def sum_rows(self, partial: Tensor) -> Tensor:
        """The sum over those that see the other rows."""
        return partial

    def sum_all(self, partial: Tensor) -> Tensor:
        """The sum over all."""
        return partial

    def used_by_features(self, parameter: Tensor) -> Tensor:
        """A parameter that all have and each uses for its own features only: its gradient is the sum over them."""
        return parameter

    # --- after the backward pass -------------------------------------------------------------------------------------

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of those that see the other rows, in place."""

    def norm(self, norms: Sequence[Tensor], held: Sequence[bool]) -> Tensor:
        """The norm over all parameters from that of each; ``held``: which of them have rows for this part only."""
        del held
        return torch.linalg.vector_norm(torch.stack(list(norms)))

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give everyone the first process's values of what all have, lest rounding on unlike machines adds up."""

    # --- numbers, without gradient -----------------------------------------------------------------------------------

    def least(self, value: Tensor) -> Tensor:
        """The smallest over all."""
        return value

    def latest(self, value_F: Tensor) -> Tensor:
        """The element-wise largest over those that see the other rows."""
        return value_F

    def by_features(self, count: int) -> list[int]:
        """The counts of all that have other features and see the same rows, in the order of the features."""
        return [count]

    def total(self, count: int) -> int:
        """The sum of counts over all."""
        return count

    def total_rows(self, count: int) -> int:
        """The sum of counts over those that see the other rows."""
        return count

    def gather_features(self, values: Tensor) -> Tensor:
        """[parts, …]: the values of all that have other features, all of the same shape."""
        return values[None]

    def gather_all(self, values_K: Tensor) -> Tensor:
        """The values of all, one after another; each may have another number of them."""
        return values_K

    # --- work --------------------------------------------------------------------------------------------------------

    def compute_each(
        self, items: Iterable[Item], compute: Callable[[Item], Mapping[Key, Tensor]]
    ) -> Iterator[tuple[Item, Mapping[Key, Tensor]]]:
        """Each item with what ``compute`` makes of it, in order. All see everything, and take turns in computing."""
        for item in items:
            yield item, compute(item)

    def agree(self, value: Value) -> Value:
        """What the first process says: for decisions that depend on a clock or a disk."""
        return value

    def wait(self) -> None:
        """Until all are here."""


ALONE = Team()
