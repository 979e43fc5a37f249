"""Features ranked by how well they tell texts with something from texts without, honestly.

Half of the texts choose the order, the others score it. A single feature is compared with what a person could get
without a dictionary, a difference-of-means probe on the raw activations, and without training: the best feature of a
dictionary of random directions, chosen and scored on the same texts.

S texts, P of them with and Q without, D width, F features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from semascope.concepts.auc import auc, auc_interval, chance_of
from semascope.concepts.reading import Pooled

LEAST_TEXTS = 8  # of each kind: four to choose on and four to score on
LEAST_AUC = 0.8
LEVEL = 0.05
RANDOM_FEATURES = 200
# The documents come in random order: even places choose, odd places score.
CHOOSE, SCORE = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class RankedFeature:
    """A feature and how well it tells the texts.

    ``chosen_by``: what gave it its rank, on the half that chose: its AUC there, or the cosine of its direction with the
    difference of means. ``auc`` with its 95 % ``interval`` (bootstrap over texts) and ``p_value`` (one-sided
    Mann-Whitney test, times the number of features tried) are of the other half. It ``exists`` when it tells them well,
    not by chance, and better than an untrained dictionary would: the interval is above that one's AUC.
    """

    feature: int
    chosen_by: float
    auc: float
    interval: tuple[float, float]
    p_value: float
    exists: bool


@dataclass(frozen=True)
class Ranking:
    """The best features first, beside controls, all scored on the half that did not choose.

    ``untrained_auc``: of the feature of an untrained dictionary that tells best on the half that chooses.
    ``random_feature_auc``: the mean over random features of this one that fire on any of the texts. ``features_tried``:
    how many fire.
    """

    features: tuple[RankedFeature, ...]
    probe_auc: float
    untrained_auc: float
    random_feature_auc: float
    positives: int
    negatives: int
    features_tried: int
    seed: int

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def rank(
    pooled: Pooled,
    positive_P: Tensor,
    negative_Q: Tensor,
    *,
    seed: int,
    top: int = 1,
    directions_FD: Tensor | None = None,
) -> Ranking:
    """Rank by AUC on the half that chooses or, given each feature's direction, by its cosine with the probe's.

    ``pooled`` by `TextReader.pool`, with an untrained dictionary; ``positive_P`` and ``negative_Q``: its rows, in
    random order.
    """
    maxima_SF, means_SD, untrained_SF = pooled.maxima_SF, pooled.means_SD, pooled.untrained_SF
    assert untrained_SF is not None
    direction_D = means_SD[positive_P[CHOOSE]].mean(dim=0) - means_SD[negative_Q[CHOOSE]].mean(dim=0)
    if directions_FD is None:
        order_F = auc(maxima_SF[positive_P[CHOOSE]], maxima_SF[negative_Q[CHOOSE]])
    else:
        order_F = torch.nn.functional.cosine_similarity(directions_FD, direction_D[None], dim=1)
    projected_S = means_SD @ direction_D
    alive_F = (maxima_SF > 0).any(dim=0).nonzero().flatten()
    shuffled = torch.randperm(len(alive_F), generator=torch.Generator().manual_seed(seed))
    random_F = alive_F[shuffled[:RANDOM_FEATURES]]
    positives, negatives = maxima_SF[positive_P[SCORE]], maxima_SF[negative_Q[SCORE]]
    best = auc(untrained_SF[positive_P[CHOOSE]], untrained_SF[negative_Q[CHOOSE]]).argmax()
    of_best_S1 = untrained_SF[:, best, None]
    untrained_auc = auc(of_best_S1[positive_P[SCORE]], of_best_S1[negative_Q[SCORE]])

    def scored(feature: int) -> RankedFeature:
        sides = positives[:, feature], negatives[:, feature]
        own_auc = auc(sides[0][:, None], sides[1][:, None]).item()
        interval = auc_interval(*sides, seed=seed)
        p_value = min(1.0, len(alive_F) * chance_of(*sides))
        return RankedFeature(
            feature,
            chosen_by=order_F[feature].item(),
            auc=own_auc,
            interval=interval,
            p_value=p_value,
            exists=own_auc >= LEAST_AUC and p_value <= LEVEL and interval[0] > untrained_auc.item(),
        )

    return Ranking(
        tuple(scored(feature) for feature in order_F.argsort(descending=True, stable=True)[:top].tolist()),
        probe_auc=auc(projected_S[positive_P[SCORE], None], projected_S[negative_Q[SCORE], None]).item(),
        untrained_auc=untrained_auc.item(),
        random_feature_auc=auc(positives[:, random_F], negatives[:, random_F]).mean().item(),
        positives=len(positive_P),
        negatives=len(negative_Q),
        features_tried=len(alive_F),
        seed=seed,
    )
