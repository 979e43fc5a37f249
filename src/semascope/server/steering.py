"""What features do: a text written with some of them held, beside the model's own, and how far that can go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError

from semascope.errors import DamagedError
from semascope.records import Intervention, Operation
from semascope.server.lines import Lines, lines_of
from semascope.server.parameters import Feature, Run, check_feature
from semascope.server.problems import problems
from semascope.server.shown import Number
from semascope.server.work import ModelWorker
from semascope.steering import Event, Sampling, Written

router = APIRouter(prefix="/runs/{run}", tags=["steering"], responses=problems(404, 422))

_MOST_STRENGTH = 1e6
_Start = Annotated[int, Field(ge=0, lt=2**31)] | Literal["reply"]


class Steerable(BaseModel):
    """How a model can be steered: whether it takes requests (``chat``), and the features that were calibrated."""

    chat: bool
    calibrated: list[int]


class SteeringLevel(BaseModel):
    """What a strength does.

    Effect: ``echo``, how strongly the feature fires, in multiples of its maximum, when the untouched model reads what
    was written, beside where that of a random feature lies (``echo_controls``). Damage: ``kl`` nats a token on held-out
    text, ``surprise`` (nats a token) and ``repetition`` of what is written; whether that is ``acceptable``.
    """

    strength: float
    echo: Number
    echo_controls: tuple[Number, Number]
    kl: Number
    surprise: Number
    repetition: Number
    acceptable: bool


class FeatureCalibration(BaseModel):
    """Effect and damage by strength, in multiples of the feature's ``maximum``.

    ``recommended``: a strength, or None where the feature does not steer. ``untouched``: echo, surprise and repetition
    of what the model writes by itself.
    """

    maximum: float
    recommended: float | None
    untouched: dict[str, Number]
    levels: list[SteeringLevel]


class AskedIntervention(BaseModel):
    """A change of a feature's activation, as in `Intervention`: ``strength`` counts in multiples of its maximum, or is
    an activation; ``start`` is the first position that is changed, or "reply"."""

    feature: int
    op: Operation = "clamp"
    strength: float = Field(default=0, ge=-_MOST_STRENGTH, le=_MOST_STRENGTH, allow_inf_nan=False)
    in_maxima: bool = True
    start: _Start = 0


class AskedText(BaseModel):
    """What is to be written: at most 4 texts of 256 tokens, with at most 8 interventions, and as many without any.

    ``chat``: whether the prompt is a request, by default where the model takes them. ``temperature``: 0 always takes
    the likeliest token. Default and steered texts share the ``seed``, sample by sample.
    """

    prompt: str = Field(max_length=20_000)
    interventions: list[AskedIntervention] = Field(min_length=1, max_length=8)
    samples: int = Field(default=1, ge=1, le=4)
    max_tokens: int = Field(default=60, ge=1, le=256)
    temperature: float = Field(default=0.7, ge=0, le=10, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**31)
    chat: bool | None = None


class SteeringEvent(BaseModel):
    """A line of the answer: the default or the ``steered`` text of a sample goes on with ``text``.

    ``ended``: whether and why it is complete then. "stop": the model ended it; "length": it is as long as asked for;
    "context": as long as the model can see.
    """

    steered: bool
    sample: int
    text: str = ""
    ended: Literal["stop", "length", "context"] | None = None


@router.get("/steering")
def get_steering(run: Run) -> Steerable:
    """How the model can be steered, and what is known already."""
    return Steerable(chat=run.run.tokenizer.has_chat_template, calibrated=run.run.saved_steering.calibrated())


@router.get("/features/{feature}/calibration")
def get_calibration(run: Run, feature: Feature) -> FeatureCalibration | None:
    """How far the feature can be turned up; null where that was not measured (`semascope calibrate RUN -f FEATURE`)."""
    found = run.run.saved_steering.calibration(feature)
    try:
        return None if found is None else FeatureCalibration.model_validate(found)
    except ValidationError as error:
        raise DamagedError(f"the calibration of feature {feature} cannot be read: calibrate it again") from error


@router.post("/steer", response_class=StreamingResponse, responses=lines_of(SteeringEvent) | problems(413, 429))
async def steer(run: Run, asked: AskedText, request: Request) -> StreamingResponse:
    """The default and the steered text side by side, a line of JSON (`SteeringEvent`) whenever one of them goes on.

    The writing stops when the client goes away.
    """
    for one in asked.interventions:
        check_feature(run, one.feature)
    interventions = [Intervention(**one.model_dump()) for one in asked.interventions]
    sampling = Sampling(asked.max_tokens, asked.temperature, samples=asked.samples, seed=asked.seed)

    def begin() -> Generator[Event]:
        return run.run.steering.generate(asked.prompt, [], interventions, sampling=sampling, chat=asked.chat)

    worker: ModelWorker = request.app.state.worker
    return Lines(_told(await worker.stream(request, begin)))


async def _told(events: AsyncGenerator[Event]) -> AsyncGenerator[SteeringEvent]:
    async with aclosing(events):
        async for event in events:
            told = SteeringEvent(steered=event.row.variant == 1, sample=event.row.sample)
            if isinstance(event, Written):
                told.text = event.text
            else:
                told.ended = event.reason
            yield told
