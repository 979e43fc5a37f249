"""Whether a feature stands for a concept: how its activation is distributed over texts with it, near it and without it.

After the paper's "specificity" and "sensitivity" (Templeton et al., "Scaling Monosemanticity", 2024), with labelled
texts in the place of a judge. S texts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor

from semascope.concepts.auc import auc, auc_interval
from semascope.concepts.reading import TextReader
from semascope.concepts.suite import Concept
from semascope.errors import DataError
from semascope.evaluation import wilson_interval
from semascope.records import Document
from semascope.text import one_window_each

KINDS = ("concept", "sisters", "neither")
FEWEST = 8


@dataclass(frozen=True)
class Band:
    """An interval of activation, ``low`` < peak ≤ ``high``; the first one is silence, from 0 to 0.

    ``counts`` and ``shares``: of the texts of each kind, how many have their peak there. ``purity``: what share of the
    texts here would have the concept if all kinds were equally many. ``sensitivity``, with its 95 % interval: the share
    of the concept's texts whose peak is here or higher; ``false_alarms``: the same of the texts without it.
    """

    low: float
    high: float
    counts: dict[str, int]
    shares: dict[str, float]
    purity: float | None
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    false_alarms: float


@dataclass(frozen=True)
class Separation:
    """How well the feature's peak tells the concept's texts from others: AUC with its 95 % interval (bootstrap)."""

    auc: float
    interval: tuple[float, float]
    texts: int


@dataclass(frozen=True)
class Elsewhere:
    """Texts of the concept from another source, such as another language.

    ``fires``: the share on which the feature fires, with its 95 % interval. ``against``: AUC against texts of that
    source without the concept, None where there are too few.
    """

    source: str
    texts: int
    fires: float
    fires_interval: tuple[float, float]
    against: Separation | None


@dataclass(frozen=True)
class Example:
    """A text of a kind and the feature's peak in it."""

    kind: str
    peak: float
    text: str


@dataclass(frozen=True)
class Specificity:
    """The peaks of a feature in texts of each kind, by interval, and in other sources.

    ``examples``: the texts of each kind with the highest peaks, which may be offensive if the suite is.
    """

    feature: int
    concept: str
    texts: dict[str, int]
    maximum: float
    bands: tuple[Band, ...]
    against: dict[str, Separation]
    elsewhere: tuple[Elsewhere, ...]
    examples: tuple[Example, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def measure_specificity(
    reader: TextReader,
    feature: int,
    concept: Concept,
    documents: Iterable[Document],
    *,
    elsewhere: Sequence[Document] = (),
    maximum: float = 0.0,
    intervals: int = 5,
    texts_each: int = 200,
    context_tokens: int = 64,
    examples: int = 0,
    seed: int = 0,
) -> Specificity:
    """Read up to ``texts_each`` texts of each kind, cut to ``context_tokens``, and count peaks by equal intervals.

    ``elsewhere``: texts of other sources, which carry the concept's label or not. ``maximum``: of the feature in the
    index; a higher peak widens the last interval. ``examples``: how many texts of each kind to return. Raises DataError
    with fewer than 8 texts with or without the concept.
    """
    documents = list(documents)
    generator = random.Random(seed)
    found = {
        "concept": [one for one in documents if concept.is_positive(one)],
        "sisters": [one for one in documents if concept.is_sister(one)],
        "neither": [one for one in documents if concept.is_negative(one) and not concept.is_sister(one)],
    }
    if min(len(found["concept"]), len(found["neither"])) < FEWEST:
        raise DataError(
            f"there are {len(found['concept'])} texts about {concept.name} and {len(found['neither'])} others, and at "
            f"least {FEWEST} of each are needed: give more labelled text, or hold out a larger part"
        )
    for source in sorted({one.source for one in elsewhere}):
        here = [one for one in elsewhere if one.source == source]
        found[f"{source}+"] = [one for one in here if concept.label in one.labels]
        found[f"{source}-"] = [one for one in here if concept.label not in one.labels]
    drawn = {kind: generator.sample(texts, min(texts_each, len(texts))) for kind, texts in found.items()}
    together = [one for texts in drawn.values() for one in texts]
    windows = [ids for _, ids in one_window_each(together, reader.model.tokenizer, context_tokens=context_tokens)]
    peaks_S = reader.peaks(windows, [feature])[:, 0]
    peaks = dict(zip(drawn, peaks_S.split([len(texts) for texts in drawn.values()]), strict=True))
    maximum = max(maximum, peaks_S.max().item())
    return Specificity(
        feature,
        concept.name,
        texts={kind: len(peaks[kind]) for kind in KINDS},
        maximum=maximum,
        bands=_bands({kind: peaks[kind] for kind in KINDS}, maximum, intervals),
        against={
            kind: _separation(peaks["concept"], peaks[kind], seed) for kind in KINDS[1:] if len(peaks[kind]) >= FEWEST
        },
        elsewhere=tuple(
            _elsewhere(source, peaks[f"{source}+"], peaks[f"{source}-"], seed)
            for source in sorted({one.source for one in elsewhere})
            if len(peaks[f"{source}+"])
        ),
        examples=tuple(
            Example(kind, peaks[kind][row].item(), drawn[kind][row].text)
            for kind in KINDS
            for row in peaks[kind].argsort(descending=True, stable=True)[:examples].tolist()
        ),
    )


def _bands(peaks: dict[str, Tensor], maximum: float, intervals: int) -> tuple[Band, ...]:
    edges = [*(maximum * i / intervals for i in range(intervals)), maximum]
    others_S = torch.cat([peaks["sisters"], peaks["neither"]])
    n = len(peaks["concept"])
    found: list[Band] = []
    for low, high in [(0.0, 0.0), *pairwise(edges)]:
        counts = {
            kind: int(((values > low) & (values <= high) if high else values == 0).sum())
            for kind, values in peaks.items()
        }
        shares = {kind: counts[kind] / max(1, len(values)) for kind, values in peaks.items()}
        reached = int((peaks["concept"] > low).sum()) if high else n
        false_alarms = (others_S > low).double().mean().item() if high else 1.0
        total = sum(shares.values())
        found.append(
            Band(
                low, high, counts, shares,
                purity=shares["concept"] / total if total else None,
                sensitivity=reached / n,
                sensitivity_interval=wilson_interval(reached, n),
                false_alarms=false_alarms,
            )
        )  # fmt: skip
    return tuple(found)


def _separation(with_P: Tensor, without_Q: Tensor, seed: int) -> Separation:
    value = auc(with_P[:, None], without_Q[:, None]).item()
    return Separation(value, auc_interval(with_P, without_Q, seed=seed), len(without_Q))


def _elsewhere(source: str, with_P: Tensor, without_Q: Tensor, seed: int) -> Elsewhere:
    fires = int((with_P > 0).sum())
    enough = min(len(with_P), len(without_Q)) >= FEWEST
    return Elsewhere(
        source,
        texts=len(with_P),
        fires=fires / len(with_P),
        fires_interval=wilson_interval(fires, len(with_P)),
        against=_separation(with_P, without_Q, seed) if enough else None,
    )
