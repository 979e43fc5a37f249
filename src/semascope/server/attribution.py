"""Why the model says a token: the logit difference by features and positions, with what ablation does to it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from semascope.attribution import Explanation, Question
from semascope.runs import explaining, text_tokens
from semascope.server.lines import Lines, lines_of
from semascope.server.parameters import Run
from semascope.server.problems import problems
from semascope.server.served import ServedRun
from semascope.server.shown import NextToken
from semascope.server.work import ModelWorker

router = APIRouter(prefix="/runs/{run}", tags=["attribution"], responses=problems(404, 409, 413, 422, 429))

MOST_TOKENS = 512
# Other texts have their turn at the model after so many positions: about a second of a small model on two cores.
POSITIONS_AT_ONCE = 1024

_Token = Annotated[str, Field(min_length=1, max_length=200)]


class AskedToken(BaseModel):
    """Why ``target`` follows a prompt of at most 512 tokens, and not ``baseline``, or not the mean of all tokens.

    ``first_token``: of a target or baseline of several tokens, take the first. ``ablations``: how many of the
    contributions are ablated for the comparison, all or a sample by ``seed``; the ``top`` ones besides, unless it is 0.
    """

    prompt: str = Field(min_length=1, max_length=20_000)
    target: _Token
    baseline: _Token | None = None
    first_token: bool = False
    ablations: int = Field(default=100, ge=0, le=2000)
    top: int = Field(default=20, ge=0, le=200)
    seed: int = Field(default=0, ge=0, lt=2**31)


class DifferenceParts(BaseModel):
    """What a logit difference consists of, in logits; the parts add up to it.

    ``bias``: of the decoder; ``skip``: a transcoder's connection; ``error``: what the dictionary does not reconstruct;
    ``left_out``: positions that it does not read; ``rest``: what is not linear in the activation.
    """

    features: float
    bias: float
    skip: float
    error: float
    left_out: float
    rest: float


class Contribution(BaseModel):
    """A feature at a position, by number, and what it adds to the logit difference, to first order."""

    feature: int
    position: int
    activation: float
    attribution: float


class Attributed(BaseModel):
    """The answer before any ablation.

    ``tokens`` of the prompt by position, with the one that begins texts; the dictionary does not read those at
    ``left_out_positions``. ``baseline``: None where the target is compared with the mean of all tokens.
    ``contributions``: the largest attribution first; ``compared`` are the numbers (from 0) of those over which
    predictions will be compared with ablation, all or a random sample.
    """

    tokens: list[str]
    left_out_positions: list[int]
    target: NextToken
    baseline: NextToken | None
    predictions: list[NextToken]
    logit_difference: float
    parts: DifferenceParts
    contributions: list[Contribution]
    compared: list[int]


class AblatedContribution(BaseModel):
    """How much lower the logit difference is without the contribution of this number."""

    contribution: int
    effect: float


class AblationAgreement(BaseModel):
    """Correlations of a prediction with the effects of ablation, with a 95 % interval; None where not defined.

    ``shared_top``: how many of the ``top`` largest are the same; None of a sample.
    """

    pearson: float | None
    pearson_interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    spearman: float | None
    top: int
    shared_top: int | None


class PredictedAblation(BaseModel):
    """How well ``attribution`` and ``activation`` tell what ablation does."""

    attribution: AblationAgreement
    activation: AblationAgreement


class AttributionEvent(BaseModel):
    """A line of the answer, which has one of these: first what was ``attributed``, then again and again what was
    ``ablated`` since the last line, and in the end the ``agreement`` of the two, unless nothing was to be ablated."""

    attributed: Attributed | None = None
    ablated: list[AblatedContribution] | None = None
    agreement: PredictedAblation | None = None


@router.post("/attribute", response_class=StreamingResponse, responses=lines_of(AttributionEvent))
async def attribute(run: Run, asked: AskedToken, request: Request) -> StreamingResponse:
    """Which features make the model say a token, a line of JSON (`AttributionEvent`) whenever more is known.

    The work stops when the client goes away.
    """

    def begin() -> Generator[AttributionEvent]:
        text_tokens(run.run, asked.prompt, most=MOST_TOKENS)
        question = Question.read(
            run.run.tokenizer, asked.prompt, asked.target, asked.baseline, first_token=asked.first_token
        )
        steps = explaining(
            run.run, question, ablations=asked.ablations, top=asked.top, seed=asked.seed,
            positions_at_once=POSITIONS_AT_ONCE,
        )  # fmt: skip
        return _events(run, next(steps), steps)

    worker: ModelWorker = request.app.state.worker
    return Lines(await worker.stream(request, begin))


def _events(run: ServedRun, first: Explanation, more: Generator[Explanation]) -> Generator[AttributionEvent]:
    with closing(more):
        told, known = first.as_json(run.run.tokenizer), first
        compared = first.ablated.compared_M.tolist()
        yield AttributionEvent(attributed=Attributed.model_validate(told | {"compared": compared}))
        for step in more:
            new = (known.ablated.effects_N.isnan() & ~step.ablated.effects_N.isnan()).nonzero()[:, 0]
            pairs = zip(new.tolist(), step.ablated.effects_N[new].tolist(), strict=True)
            yield AttributionEvent(
                ablated=[AblatedContribution(contribution=number, effect=effect) for number, effect in pairs]
            )
            known = step
        if known is not first:
            agreement = {"attribution": known.of_attribution.as_json(), "activation": known.of_activation.as_json()}
            yield AttributionEvent(agreement=PredictedAblation.model_validate(agreement))
