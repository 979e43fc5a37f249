"""Which concepts have a feature, as `semascope concepts` measured it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError

from semascope.concepts import LEAST_AUC, LEVEL, read_suite, suite_names
from semascope.errors import DamagedError
from semascope.server.parameters import Run
from semascope.server.problems import problems
from semascope.server.runs import Concept
from semascope.server.served import ServedRun, results_of_suites

router = APIRouter(prefix="/runs/{run}/concepts", tags=["concepts"], responses=problems(404))


class ScoredConcept(Concept):
    """A concept with what else was measured. ``density``: the share of tokens on which its feature fires.

    ``p_value``: corrected for the ``features_tried``. ``specificity`` is over so many ``sister_texts``.
    """

    density: float
    p_value: float
    features_tried: int
    sister_texts: int


class ScoredSuite(BaseModel):
    """The concepts that were scored together; ``offensive``: whether what their features fire on may hurt."""

    name: str
    offensive: bool
    concepts: list[ScoredConcept]


class ScoredSuites(BaseModel):
    """The suites that were scored, and the ``commands`` that score the others that come with Semascope.

    A feature exists when its AUC is at least ``least_auc``, with a p-value of at most ``level``.
    """

    suites: list[ScoredSuite]
    least_auc: float
    level: float
    commands: list[str]


@router.get("")
def get_concepts(run: Run) -> ScoredSuites:
    """Which concepts have a feature, which, and how well it tells them."""
    found = results_of_suites(run.run)
    densities = run.index.densities()
    suites: list[ScoredSuite] = []
    for name, result in found.items():
        offensive = result.get("offensive", name in suite_names() and read_suite(name).offensive)
        try:
            concepts = [
                ScoredConcept.model_validate(score | {"density": float(densities[score["feature"]])})
                for score in result["concepts"]
            ]
        except (ValidationError, KeyError, IndexError) as error:
            raise DamagedError(
                f"the concepts of the suite '{name}' cannot be read: run '{_command(run, name)}' again"
            ) from error
        suites.append(ScoredSuite(name=name, offensive=offensive, concepts=concepts))
    return ScoredSuites(
        suites=suites,
        least_auc=LEAST_AUC,
        level=LEVEL,
        commands=[_command(run, name) for name in suite_names() if name not in found],
    )


def _command(run: ServedRun, suite: str) -> str:
    return f"semascope concepts {run.run.folder} --suite {suite}"
