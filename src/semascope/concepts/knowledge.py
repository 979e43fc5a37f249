"""What a dictionary knows: for each concept the feature that tells it, chosen on half of the texts, scored on the rest.

A single feature is compared with what a person could get without a dictionary, a difference-of-means probe on the raw
activations, and with what chance gives, random features.

A feature for a concept exists when its AUC on the held-out half is at least ``LEAST_AUC`` and no chance finding: the
one-sided p-value of the Mann-Whitney test there, times the number of features tried, is at most ``LEVEL``. The held-out
half did not choose, so the factor (Bonferroni's) is strict.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from semascope.concepts.auc import auc
from semascope.concepts.ranking import CHOOSE, LEAST_TEXTS, SCORE, rank
from semascope.concepts.reading import Pooled, TextReader
from semascope.concepts.suite import Concept
from semascope.errors import DataError
from semascope.records import Document
from semascope.text import one_window_each


@dataclass(frozen=True)
class ConceptScore:
    """What is known of one concept. AUCs are on the half of the texts that did not choose the feature.

    ``interval``, ``p_value``, the controls ``probe_auc``, ``untrained_auc`` and ``random_feature_auc``, ``exists``: see
    `ranking`. ``specificity`` is the AUC against the ``sister_texts`` of neighbouring concepts, None when there are too
    few.
    """

    concept: str
    label: str
    feature: int
    auc: float
    interval: tuple[float, float]
    probe_auc: float
    untrained_auc: float
    random_feature_auc: float
    positives: int
    negatives: int
    seed: int
    exists: bool
    p_value: float
    features_tried: int
    specificity: float | None
    sister_texts: int

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def score_concepts(
    reader: TextReader,
    documents: Iterable[Document],
    concepts: Sequence[Concept],
    *,
    texts_each: int = 80,
    context_tokens: int = 64,
    seed: int = 0,
) -> list[ConceptScore]:
    """Score each concept that ``documents`` (labelled, held out from training) have enough texts of.

    Up to ``texts_each`` texts with and as many without the concept, cut to ``context_tokens``, are split into two
    halves by ``seed``. Raises DataError when no concept has enough texts.
    """
    documents = list(documents)
    generator = random.Random(seed)
    chosen: dict[str, tuple[list[Document], list[Document], list[Document]]] = {}
    for concept in concepts:
        positives = [document for document in documents if concept.is_positive(document)]
        negatives = [document for document in documents if concept.is_negative(document)]
        if min(len(positives), len(negatives)) >= LEAST_TEXTS:
            chosen[concept.name] = (
                generator.sample(positives, min(texts_each, len(positives))),
                generator.sample(negatives, min(texts_each, len(negatives))),
                [],
            )
    # After the other draws, which so are the same with sisters as without.
    for concept in concepts:
        if concept.name in chosen:
            # Texts that chose the feature by not having it would make it look specific.
            choosers = {document.id for document in chosen[concept.name][1][CHOOSE]}
            sisters = [one for one in documents if concept.is_sister(one) and one.id not in choosers]
            chosen[concept.name][2].extend(generator.sample(sisters, min(texts_each, len(sisters))))
    if not chosen:
        raise DataError(
            f"none of the concepts {', '.join(c.label for c in concepts)} has {LEAST_TEXTS} held-out texts with it and "
            f"{LEAST_TEXTS} without: give more labelled text, or hold out a larger part"
        )

    needed = {document.id: document for sides in chosen.values() for side in sides for document in side}
    windows = one_window_each(needed.values(), reader.model.tokenizer, context_tokens=context_tokens)
    texts = {document.id: ids for document, ids in windows}
    row_of = {id: row for row, id in enumerate(texts)}
    ids = list(texts.values())
    pooled = reader.pool(ids, untrained=reader.untrained(ids))

    scores: list[ConceptScore] = []
    for concept in concepts:
        if concept.name in chosen:
            rows = [
                torch.tensor([row_of[document.id] for document in side], dtype=torch.int64)
                for side in chosen[concept.name]
            ]
            scores.append(_score(concept, pooled, *rows, seed=seed))
    return scores


def _score(
    concept: Concept,
    pooled: Pooled,
    positive_P: Tensor,
    negative_Q: Tensor,
    sister_S: Tensor,
    *,
    seed: int,
) -> ConceptScore:
    ranking = rank(pooled, positive_P, negative_Q, seed=seed)
    [best] = ranking.features
    specific = len(sister_S) >= LEAST_TEXTS
    held_out_P1 = pooled.maxima_SF[positive_P[SCORE], best.feature][:, None]
    return ConceptScore(
        concept=concept.name,
        label=concept.label,
        feature=best.feature,
        auc=best.auc,
        interval=best.interval,
        probe_auc=ranking.probe_auc,
        untrained_auc=ranking.untrained_auc,
        random_feature_auc=ranking.random_feature_auc,
        positives=ranking.positives,
        negatives=ranking.negatives,
        seed=seed,
        exists=best.exists,
        p_value=best.p_value,
        features_tried=ranking.features_tried,
        specificity=auc(held_out_P1, pooled.maxima_SF[sister_S, best.feature][:, None]).item() if specific else None,
        sister_texts=len(sister_S),
    )
