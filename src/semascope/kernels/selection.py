"""Which pre-activations of a batch stay: the rules that make codes sparse. What carries them out is each backend's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``k`` largest pre-activations of each row, of any sign, among all features or those of ``among_F``.

    ``among_F`` lists feature ids in ascending order. Restricting the choice by listing, not by multiplying with a mask
    of zeros, is what keeps an excluded feature from outranking an included one with a negative pre-activation.
    """

    k: int
    among_F: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Above:
    """Pre-activations above a threshold: one number for all features, as a tensor ``[]`` or not, or one for each
    (``[F]``)."""

    threshold: float | Tensor = 0.0


@dataclass(frozen=True, slots=True)
class BatchTopK:
    """The ``k · B`` largest positive pre-activations of the whole batch of B rows.

    ``likely``: where the smallest of them probably lies, from earlier batches. It saves looking at entries that stand
    no chance, and has no influence on which ones are kept; unless ``below_too`` is False: then nothing below it is
    kept, and fewer may be. As a tensor ``[]`` it need not be read by the host.
    """

    k: int
    likely: float | Tensor = 0.0
    below_too: bool = True


Selection = TopK | Above | BatchTopK
