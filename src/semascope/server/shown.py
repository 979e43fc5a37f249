"""What several resources show: features in short, tokens, contexts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from semascope.catalog import Entry, Written
from semascope.features import Example, FeatureStatistics
from semascope.runs import Scores
from semascope.server.served import ServedRun
from semascope.text import pieces


def _defined(value: Any) -> Any:
    return value if value is None or math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_defined)]
"""None where a figure is not defined or was not measured."""


class WrittenText(BaseModel):
    """A label or note. ``source``: "person", or what made it. ``changed``: UTC, ISO 8601."""

    text: str
    source: str
    changed: str

    @classmethod
    def of(cls, written: Written | None) -> WrittenText | None:
        """What the catalog has of it, if anything."""
        return written and cls(text=written.text, source=written.source, changed=written.changed)


class FiringToken(BaseModel):
    """A token that a feature fires on, with its share of the feature's summed activation."""

    token: int
    text: str
    share: float


class LogitToken(BaseModel):
    """A token with what one unit of a feature's activation adds to its logit."""

    token: int
    text: str
    logit: float


class FeatureSummary(BaseModel):
    """A feature in a list. ``concepts``: those that this feature tells best of all.

    ``input_score`` and ``output_score``: whether what it promotes turns it on, and whether it makes the model say that;
    None where `semascope calibrate RUN` has not measured them.
    """

    feature: int
    label: WrittenText | None
    starred: bool
    n_active: int
    density: float
    maximum: float
    mean: float
    top_tokens: list[FiringToken]
    promoted: list[LogitToken]
    concepts: list[str]
    input_score: Number
    output_score: Number


def summary(run: ServedRun, statistics: FeatureStatistics, entry: Entry) -> FeatureSummary:
    """One feature in short."""
    scores = Scores.of(run.run)
    return FeatureSummary(
        feature=statistics.feature,
        label=WrittenText.of(entry.label),
        starred=entry.starred,
        n_active=statistics.n_active,
        density=statistics.density,
        maximum=statistics.maximum,
        mean=statistics.mean,
        top_tokens=[FiringToken(token=one.token, text=one.text, share=one.weight) for one in statistics.top_tokens],
        promoted=[LogitToken(token=one.token, text=one.text, logit=one.weight) for one in statistics.promoted],
        concepts=list(run.concepts.get(statistics.feature, ())),
        input_score=float(scores.input_F[statistics.feature]),
        output_score=float(scores.output_F[statistics.feature]),
    )


def summaries(run: ServedRun, features: Sequence[FeatureStatistics]) -> list[FeatureSummary]:
    """Several features in short."""
    entries = run.catalog.entries([one.feature for one in features])
    return [summary(run, one, entries[one.feature]) for one in features]


class NextToken(BaseModel):
    """A token that may follow: its probability, and its rank among all, from 1."""

    token: int
    text: str
    probability: float
    rank: int


class ShownToken(BaseModel):
    """The shortest run of tokens that reads as text: nearly always one, several where they share a character.

    ``value``: the feature's largest activation on them, 0 where it is silent.
    """

    text: str
    value: float
    tokens: list[int]


class ShownContext(BaseModel):
    """A place where a feature is active: ``tokens`` of one document around ``tokens[peak]``, where it is strongest.

    ``window`` and ``position`` say where in the indexed text, ``document`` in which of its documents. ``folded``: how
    many windows with the same text around the peak this one stands for, itself included.
    """

    window: int
    position: int
    document: int
    value: float
    peak: int
    folded: int
    tokens: list[ShownToken]


def shown_tokens(run: ServedRun, tokens: Sequence[int], values: Sequence[float]) -> list[ShownToken]:
    """Tokens with a value each, as text."""
    return [
        ShownToken(
            text=piece.text,
            value=max(values[piece.start : piece.stop]),
            tokens=list(tokens[piece.start : piece.stop]),
        )
        for piece in pieces(tokens, run.run.tokenizer)
    ]


def place_among(shown: Sequence[ShownToken], token: int) -> int:
    """Which of the shown tokens holds the token of this number."""
    ends = accumulate(len(one.tokens) for one in shown)
    return next(place for place, end in enumerate(ends) if end > token)


def context(run: ServedRun, example: Example) -> ShownContext:
    """An example as the API shows it, without the parts of characters that its edges cut off."""
    tokens = shown_tokens(run, example.tokens, example.values)
    peak = place_among(tokens, example.position - example.start)
    whole = [place for place, token in enumerate(tokens) if token.text.strip("\ufffd") or place == peak]
    first, last = whole[0], whole[-1]
    return ShownContext(
        window=example.window,
        position=example.position,
        document=example.document,
        value=example.value,
        peak=peak - first,
        folded=example.count,
        tokens=tokens[first : last + 1],
    )
