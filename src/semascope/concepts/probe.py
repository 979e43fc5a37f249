"""How far a text is about something, as the model's raw activations say: no feature has a part in it.

S texts, T positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from semascope.concepts.auc import auc
from semascope.concepts.ranking import CHOOSE, LEAST_TEXTS, SCORE
from semascope.concepts.reading import TextReader
from semascope.errors import DataError
from semascope.records import Document


@dataclass(frozen=True)
class ConceptProbe:
    """Scores texts by the projection of their mean raw activation on the difference of the means of labelled texts.

    The scale: 0 for the mean of the texts without the concept, 1 for that of those with it, in the half of the texts
    that trained it. ``auc``: how well it tells the other half, ``positives`` with and ``negatives`` without; 0.5 is
    chance, and then its scores mean nothing.
    """

    name: str
    direction_D: Tensor
    offset: float
    auc: float
    positives: int
    negatives: int

    def score(self, means_SD: Tensor) -> Tensor:
        """[S], from the mean raw activation of each text."""
        return means_SD @ self.direction_D.to(means_SD.device) - self.offset

    @classmethod
    def train(
        cls,
        reader: TextReader,
        documents: Iterable[Document],
        name: str,
        *,
        has: Callable[[Document], bool],
        lacks: Callable[[Document], bool],
        texts_each: int = 80,
        context_tokens: int = 64,
        seed: int = 0,
    ) -> ConceptProbe:
        """On half of up to ``texts_each`` texts of each kind, cut to ``context_tokens``.

        ``has`` and ``lacks`` say which texts are about the concept and which it is told from. Raises DataError when
        there are fewer than 8 of a kind.
        """
        documents = list(documents)
        sides = [[one for one in documents if has(one)], [one for one in documents if lacks(one)]]
        if min(map(len, sides)) < LEAST_TEXTS:
            raise DataError(
                f"there are {len(sides[0])} texts about {name} and {len(sides[1])} others, and at least {LEAST_TEXTS} "
                "of each are needed: give more labelled text, or hold out a larger part"
            )
        pooled, sizes = reader.pool_kinds(sides, texts_each=texts_each, context_tokens=context_tokens, seed=seed)
        with_PD, without_QD = pooled.means_SD.split(sizes)
        high_D, low_D = with_PD[CHOOSE].mean(dim=0), without_QD[CHOOSE].mean(dim=0)
        direction_D = (high_D - low_D) / (high_D - low_D).square().sum()
        return cls(
            name,
            direction_D,
            offset=float(low_D @ direction_D),
            auc=auc((with_PD[SCORE] @ direction_D)[:, None], (without_QD[SCORE] @ direction_D)[:, None]).item(),
            positives=len(with_PD[SCORE]),
            negatives=len(without_QD[SCORE]),
        )
