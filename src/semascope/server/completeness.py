"""Which names have a feature, by how often the text has them, as `semascope completeness` found it in each run."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError

from semascope.concepts import frequency
from semascope.errors import DamagedError
from semascope.files import read_json
from semascope.server.parameters import Runs

router = APIRouter(prefix="/completeness", tags=["concepts"])

_PREFIX = "completeness-"


class PresentName(BaseModel):
    """A name, how often the training text has it, and its best feature; ``present``: whether that is the name's own.

    ``cosine``: with what the name adds to the activations; ``untrained_cosine``: of the nearest of as many random
    directions.
    """

    name: str
    count: int
    per_million: float
    feature: int
    auc: float
    cosine: float
    untrained_cosine: float
    present: bool


class FittedSigmoid(BaseModel):
    """The share of names that are present: 1 / (1 + exp(−slope · (log10 frequency − middle)))."""

    slope: float
    middle: float


class RunCompleteness(BaseModel):
    """What is present in the dictionary of a run; no ``fit`` where it does not rise with frequency.

    ``per_million`` of a name that never occurs is that of half an occurrence, so that it has a logarithm.
    """

    run: str
    features: int
    tokens: int
    share: float
    names: list[PresentName]
    fit: FittedSigmoid | None


class KindCompleteness(BaseModel):
    """Names of a kind, in all runs in which they were looked for."""

    kind: str
    runs: list[RunCompleteness]


class MeasuredCompleteness(BaseModel):
    """The kinds of names that were looked for, and the ``command`` that looks for more."""

    kinds: list[KindCompleteness]
    command: str


@router.get("")
def get_completeness(served: Runs) -> MeasuredCompleteness:
    """Which names of which kinds have a feature, by their frequency, in every served run."""
    kinds: dict[str, list[RunCompleteness]] = {}
    for run in served:
        for file in sorted((run.run.folder / "evaluation").glob(f"{_PREFIX}*.json")):
            result = read_json(file)
            try:
                found = RunCompleteness.model_validate(result | {"run": run.name})
            except (ValidationError, TypeError) as error:
                raise DamagedError(f"{file} cannot be read: measure it again with 'semascope completeness'") from error
            for one in found.names:
                one.per_million = frequency(one.count, found.tokens)
            kinds.setdefault(file.stem.removeprefix(_PREFIX), []).append(found)
    folders = " ".join(str(run.run.folder) for run in served)
    return MeasuredCompleteness(
        kinds=[
            KindCompleteness(kind=kind, runs=sorted(runs, key=lambda one: one.features))
            for kind, runs in sorted(kinds.items())
        ],
        command=f"semascope completeness {folders} --names element",
    )
