"""What the addresses of the API name: a run, and a feature of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from semascope.server.problems import not_found
from semascope.server.served import Served, ServedRun


def served_by(request: Request) -> Served:
    """The runs of the app."""
    return request.app.state.served


def served_run(
    served: Annotated[Served, Depends(served_by)], run: Annotated[str, Path(description="The name of a served run.")]
) -> ServedRun:
    """The run that an address names."""
    if (found := served.get(run)) is None:
        names = ", ".join(one.name for one in served) or "none"
        raise not_found(f"there is no run '{run}' here; served are: {names}")
    return found


def feature_of(
    run: Annotated[ServedRun, Depends(served_run)], feature: Annotated[int, Path(description="The id of a feature.")]
) -> int:
    """The feature that an address names."""
    check_feature(run, feature)
    return feature


def check_feature(run: ServedRun, feature: int) -> None:
    """Raise 404 when the run has no such feature."""
    if feature not in run.index:
        raise not_found(
            f"there is no feature {feature}: the index of '{run.name}' holds 0 to {run.index.n_features - 1}"
        )


Runs = Annotated[Served, Depends(served_by)]
Run = Annotated[ServedRun, Depends(served_run)]
Feature = Annotated[int, Depends(feature_of)]
