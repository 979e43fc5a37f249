"""What features see in a text that somebody types. These routes run the model, which is loaded at the first of them.

T shown tokens, K activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from semascope.attribution import Prediction
from semascope.runs import AttributedReading, Reading, read, read_for, text_tokens
from semascope.server.parameters import Feature, Run
from semascope.server.problems import problems
from semascope.server.shown import NextToken, ShownToken, shown_tokens
from semascope.server.work import ModelWorker
from semascope.text import Piece, pieces, token_text

router = APIRouter(prefix="/runs/{run}", tags=["lens"], responses=problems(404, 413, 422, 429))

MOST_TOKENS = 1024
MOST_ATTRIBUTED_TOKENS = 512
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
NextText = Annotated[str, Field(min_length=1, max_length=200)]
Order = Literal["activation", "rarity", "attribution"]


class LensText(BaseModel):
    """A text, of at most 1,024 tokens. ``features_per_token`` and ``features``: how many to tell of each and of all.

    ``order``: the strongest first, by "activation", by activation × rarity, or by the size of the "attribution" to the
    logit of the next token: how much more of it than of all tokens on average, or than of the ``baseline``. Then the
    text has at most 512 tokens. ``target``: by default what the model finds likeliest; the first token counts.
    """

    text: Text
    features_per_token: int = Field(default=5, ge=1, le=20)
    features: int = Field(default=50, ge=1, le=200)
    order: Order = "activation"
    target: NextText | None = None
    baseline: NextText | None = None

    @model_validator(mode="after")
    def _a_question_is_whole(self) -> Self:
        if self.target is not None and self.order != "attribution":
            raise ValueError("a target is for the order 'attribution'")
        if self.baseline is not None and self.target is None:
            raise ValueError("a baseline is what a target is compared with: give one")
        return self


class Activation(BaseModel):
    """A feature with its activation on a token, and its attribution there where that was asked for."""

    feature: int
    value: float
    attribution: float | None = None


class LensToken(BaseModel):
    """The shortest run of tokens that reads as text, with its first features in order."""

    text: str
    tokens: list[int]
    features: list[Activation]


class LensFeature(BaseModel):
    """A feature that is active in the text: on which of its shown tokens, how strongly, and what it is called.

    ``maximum``: its largest activation in the index. ``rarity``: −ln of the share of tokens on which it fires there.
    ``fires_on``: the tokens that make up most of its activation there. ``attribution``: summed over the text.
    """

    feature: int
    label: str | None
    fires_on: list[str]
    maximum: float
    rarity: float
    total: float
    attribution: float | None = None
    at: list[int]
    values: list[float]


class LensQuestion(BaseModel):
    """What the features were attributed to: the logit ``difference`` of the ``target`` and the ``baseline``, or all
    tokens on average. ``likely``: what the model would go on with.
    """

    target: NextToken
    baseline: NextToken | None
    difference: float
    likely: list[NextToken]


class Lens(BaseModel):
    """A text as the dictionary sees it. ``features``: first those of the whole text in order of their summed
    activation (× rarity), or of the size of their summed attribution to the ``question``, ``n_first`` of them, then the
    others that some token names.
    """

    tokens: list[LensToken]
    features: list[LensFeature]
    n_first: int
    question: LensQuestion | None = None


class TryText(BaseModel):
    """A text, of at most 1,024 tokens."""

    text: Text


class Tried(BaseModel):
    """One feature on a text; ``maximum``: its largest activation in the index."""

    tokens: list[ShownToken]
    maximum: float


@router.post("/lens")
async def read_text(run: Run, asked: LensText, request: Request) -> Lens:
    """For every token of a text its strongest features, and for the whole text those that matter."""
    return await _worker(request).run(request, lambda: _lens(run, asked))


@router.post("/features/{feature}/try")
async def try_text(run: Run, feature: Feature, asked: TryText, request: Request) -> Tried:
    """How strongly a feature is active on each token of a text."""

    def tried() -> Tried:
        reading = _reading(run, asked.text)
        values = reading.of(feature).tolist()
        return Tried(tokens=shown_tokens(run, reading.tokens, values), maximum=run.index.statistics(feature).maximum)

    return await _worker(request).run(request, tried)


def _worker(request: Request) -> ModelWorker:
    return request.app.state.worker


def _reading(run: Run, text: str) -> Reading:
    return read(run.run, text_tokens(run.run, text, most=MOST_TOKENS))


def _lens(run: Run, asked: LensText) -> Lens:
    attributed = None
    if asked.order == "attribution":
        tokens = text_tokens(run.run, asked.text, most=MOST_ATTRIBUTED_TOKENS)
        attributed = read_for(run.run, asked.text, tokens, asked.target, asked.baseline)
    reading = attributed.reading if attributed else _reading(run, asked.text)
    shown = pieces(reading.tokens, run.run.tokenizer)
    at_K, features_K, values_K, attributions_K = _by_piece(reading, attributed, shown)
    used, column_K = np.unique(features_K, return_inverse=True)
    rarity_U = run.index.summary.rarity_F[used]
    weight_K = {"activation": values_K, "rarity": values_K * rarity_U[column_K], "attribution": attributions_K}[
        asked.order
    ]

    total_U = np.bincount(column_K, weight_K, minlength=len(used))
    first = np.argsort(-np.abs(total_U), kind="stable")[: asked.features].tolist()
    by_token: list[list[int]] = []
    for place in range(len(shown)):
        (here,) = np.nonzero(at_K == place)
        strongest = here[np.argsort(-np.abs(weight_K[here]), kind="stable")]
        by_token.append(strongest[: asked.features_per_token].tolist())
    named = dict.fromkeys([*first, *(int(column_K[entry]) for entries in by_token for entry in entries)])

    told = list(named)
    ids = used[told].tolist()
    entries_of, statistics_of = run.catalog.entries(ids), run.index.of(ids)
    features: list[LensFeature] = []
    for column, statistics in zip(told, statistics_of, strict=True):
        (where,) = np.nonzero(column_K == column)
        label = entries_of[statistics.feature].label
        features.append(
            LensFeature(
                feature=statistics.feature,
                label=label.text if label else None,
                fires_on=[one.text for one in statistics.top_tokens[:3]],
                maximum=statistics.maximum,
                rarity=float(rarity_U[column]),
                total=float(values_K[where].sum()),
                attribution=float(attributions_K[where].sum()) if attributed else None,
                at=at_K[where].tolist(),
                values=values_K[where].tolist(),
            )
        )
    return Lens(
        tokens=[
            LensToken(
                text=piece.text,
                tokens=list(reading.tokens[piece.start : piece.stop]),
                features=[
                    Activation(
                        feature=int(features_K[entry]),
                        value=float(values_K[entry]),
                        attribution=float(attributions_K[entry]) if attributed else None,
                    )
                    for entry in entries
                ],
            )
            for piece, entries in zip(shown, by_token, strict=True)
        ],
        features=features,
        n_first=len(first),
        question=attributed and _question(run, attributed),
    )


def _question(run: Run, found: AttributedReading) -> LensQuestion:
    def told(one: Prediction) -> NextToken:
        text = token_text(one.token, run.run.tokenizer)
        return NextToken(token=one.token, text=text, probability=one.probability, rank=one.rank)

    return LensQuestion(
        target=told(found.target),
        baseline=found.baseline and told(found.baseline),
        difference=found.difference,
        likely=[told(one) for one in found.likely],
    )


def _by_piece(
    reading: Reading, attributed: AttributedReading | None, shown: Sequence[Piece]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The activations with shown tokens in place of tokens, each feature once a place: place, feature, largest value,
    summed attribution.
    """
    piece_of_T = np.repeat(np.arange(len(shown)), [piece.stop - piece.start for piece in shown])
    places = np.stack([piece_of_T[reading.positions_K], reading.features_K])
    distinct, column_K = np.unique(places, axis=1, return_inverse=True)
    column_K = column_K.reshape(-1)
    values, attributions = np.zeros((2, distinct.shape[1]))
    np.maximum.at(values, column_K, reading.values_K)
    if attributed is not None:
        np.add.at(attributions, column_K, attributed.attributions_K)
    return distinct[0], distinct[1], values, attributions
