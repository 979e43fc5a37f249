"""Where a feature is active."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from semascope.features import Context, Interval
from semascope.server.caching import KEPT_WITH_THE_INDEX
from semascope.server.parameters import Feature, Run
from semascope.server.problems import problems
from semascope.server.served import ServedRun
from semascope.server.shown import ShownContext, context

router = APIRouter(prefix="/runs/{run}/features/{feature}", tags=["contexts"], responses=problems(404, 422))

Width = Literal["narrow", "medium", "wide"]
WIDTHS: dict[Width, Context] = {"narrow": Context(10, 5), "medium": Context(24, 12), "wide": Context(80, 40)}


class ShownInterval(BaseModel):
    """Windows whose peak lies from ``low`` up to ``high``: how many there are, and a sample, strongest first."""

    low: float
    high: float
    n_windows: int
    contexts: list[ShownContext]

    @classmethod
    def of(cls, run: ServedRun, interval: Interval) -> ShownInterval:
        """An interval as the API shows it."""
        return cls(
            low=interval.low,
            high=interval.high,
            n_windows=interval.n_windows,
            contexts=[context(run, one) for one in interval.examples],
        )


@router.get("/contexts", dependencies=[KEPT_WITH_THE_INDEX])
def list_contexts(
    run: Run, feature: Feature, width: Width = "medium", n: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[ShownContext]:
    """The windows in which a feature is strongest, near-duplicates folded; ``width``: how much text around the peak."""
    return [context(run, one) for one in run.index.top(feature, n, context=WIDTHS[width])]


@router.get("/intervals", dependencies=[KEPT_WITH_THE_INDEX])
def list_intervals(
    run: Run,
    feature: Feature,
    width: Width = "medium",
    intervals: Annotated[int, Query(ge=1, le=20)] = 10,
    per_interval: Annotated[int, Query(ge=1, le=20)] = 5,
) -> list[ShownInterval]:
    """A sample of windows from equal intervals of activation, from 0 to the maximum; none of a feature that is dead."""
    found = run.index.intervals(feature, intervals, per_interval, context=WIDTHS[width])
    return [ShownInterval.of(run, one) for one in found]
