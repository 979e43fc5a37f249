"""How good rules are: precision and recall on labelled texts, beside a probe on raw activations.

The probe is a difference of means of texts' mean activations; half of the texts train it and choose its threshold, by
the best F1; the other half is what rules and probe are measured on. S texts, D width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from semascope import progress
from semascope.concepts.auc import auc
from semascope.concepts.monitoring import Monitor
from semascope.concepts.ranking import CHOOSE, LEAST_TEXTS, SCORE
from semascope.concepts.rules import Rule
from semascope.errors import DataError
from semascope.evaluation import wilson_interval
from semascope.records import Document


@dataclass(frozen=True)
class Probe:
    """Flags a text whose mean raw activation has a projection above ``threshold``."""

    direction_D: Tensor
    threshold: float

    def score(self, means_SD: Tensor) -> Tensor:
        """[S]: how far above the threshold each text is."""
        return means_SD @ self.direction_D - self.threshold

    @classmethod
    def train(cls, means_SD: Tensor, positive_S: Tensor) -> Probe:
        """By the difference of means, with the threshold of the best F1 on the same texts."""
        direction_D = means_SD[positive_S].mean(dim=0) - means_SD[~positive_S].mean(dim=0)
        projected_S = means_SD @ direction_D
        values_S, order_S = projected_S.sort(descending=True)
        hits_S = positive_S[order_S].double().cumsum(0)
        f1_S = 2 * hits_S / (torch.arange(1, len(hits_S) + 1) + positive_S.sum())
        best = int(f1_S.argmax())
        below = values_S[best + 1].item() if best + 1 < len(values_S) else values_S[best].item() - 1.0
        return cls(direction_D, (values_S[best].item() + below) / 2)


@dataclass(frozen=True)
class Hits:
    """What was flagged of held-out texts, with 95 % intervals (Wilson); precision is None when nothing was flagged."""

    flagged: int
    right: int
    precision: float | None
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    auc: float


@dataclass(frozen=True)
class Check:
    """A rule and its probe on ``positives`` and ``negatives`` held-out texts."""

    rule: str
    label: str
    positives: int
    negatives: int
    by_rule: Hits
    by_probe: Hits

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def train_probes(monitor: Monitor, documents: Sequence[Document]) -> dict[str, Probe]:
    """A probe for each rule, from all the texts. Raises DataError when a rule has fewer than 8 texts of a kind."""
    _, means_SD = _read(monitor, documents)
    return {rule.name: Probe.train(means_SD, _labelled(rule, documents)) for rule in monitor.rules}


def check_rules(monitor: Monitor, documents: Sequence[Document], *, seed: int = 0) -> list[Check]:
    """Precision and recall of every rule on a half of labelled texts, beside a probe that the other half trains.

    Raises DataError when a rule has fewer than 8 texts with or without its label.
    """
    documents = list(documents)
    random.Random(seed).shuffle(documents)
    for rule in monitor.rules:
        _labelled(rule, documents)  # Before anything is read.
    scores_SR, means_SD = _read(monitor, documents)
    return [_check(rule, scores_SR[:, r], means_SD, _labelled(rule, documents)) for r, rule in enumerate(monitor.rules)]


def _check(rule: Rule, scores_S: Tensor, means_SD: Tensor, positive_S: Tensor) -> Check:
    # Halves of each kind, so that both kinds are in both.
    with_P, without_Q = positive_S.nonzero()[:, 0], (~positive_S).nonzero()[:, 0]
    training_S = torch.cat([with_P[CHOOSE], without_Q[CHOOSE]])
    held_out_S = torch.cat([with_P[SCORE], without_Q[SCORE]])
    probe = Probe.train(means_SD[training_S], positive_S[training_S])
    truth_S = positive_S[held_out_S]
    return Check(
        rule.name,
        rule.label,
        positives=int(truth_S.sum()),
        negatives=int((~truth_S).sum()),
        by_rule=_hits(scores_S[held_out_S] - 1, truth_S),
        by_probe=_hits(probe.score(means_SD[held_out_S]), truth_S),
    )


def _hits(above_S: Tensor, truth_S: Tensor) -> Hits:
    """``above_S``: how far each text is above the threshold."""
    flagged, right, positives = int((above_S > 0).sum()), int(((above_S > 0) & truth_S).sum()), int(truth_S.sum())
    return Hits(
        flagged,
        right,
        precision=right / flagged if flagged else None,
        precision_interval=wilson_interval(right, flagged),
        recall=right / positives,
        recall_interval=wilson_interval(right, positives),
        auc=auc(above_S[truth_S][:, None], above_S[~truth_S][:, None]).item(),
    )


def _labelled(rule: Rule, documents: Sequence[Document]) -> Tensor:
    positive_S = torch.tensor([rule.label in one.labels for one in documents])
    n = int(positive_S.sum())
    if min(n, len(documents) - n) < LEAST_TEXTS:
        raise DataError(
            f"rule '{rule.name}': {n} texts have the label '{rule.label}' and {len(documents) - n} do not, and at "
            f"least {LEAST_TEXTS} of each are needed: give more texts, or say with 'label' what they call it"
        )
    return positive_S


def _read(monitor: Monitor, documents: Sequence[Document]) -> tuple[Tensor, Tensor]:
    scores: list[list[float]] = []
    means: list[Tensor] = []
    with progress.task("Read labelled texts", total=len(documents), unit="texts") as shown:
        for watched in monitor.watch(one.text for one in documents):
            scores.append([watched.scores[rule.name] for rule in monitor.rules])
            means.append(watched.mean_D)
            shown.advance()
    return torch.tensor(scores), torch.stack(means)
