"""The features around one: a small map for its page."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from semascope.features import around_by_cosine, around_on_map
from semascope.server.parameters import Feature, Run
from semascope.server.problems import problems

router = APIRouter(prefix="/runs/{run}/features/{feature}", tags=["features"], responses=problems(404, 422))

_NEAREST = 30
_DECIMALS = 3


class PointAround(BaseModel):
    """A feature at a place, from -1 to 1, y upwards; ``label`` is its text."""

    feature: int
    x: float
    y: float
    density: float
    label: str | None


class FeaturesAround(BaseModel):
    """A feature, in the middle and first, and others. ``by``: the nearest on the map, or its neighbours by cosine."""

    by: Literal["map", "cosine"]
    points: list[PointAround]


@router.get("/around")
def get_around(run: Run, feature: Feature) -> FeaturesAround:
    """The 30 nearest on the map; where there is none, the neighbours, laid out by the cosines between them."""
    on_map = around_on_map(run.map, feature, _NEAREST) if run.map else None
    if on_map is None:
        near = [feature, *(one.feature for one in run.index.statistics(feature).neighbours)]
        found = around_by_cosine(near, run.run.directions(near))
    else:
        found = on_map
    ids = found.features_n.tolist()
    entries, densities = run.catalog.entries(ids), run.index.densities()[ids].tolist()
    return FeaturesAround(
        by="cosine" if on_map is None else "map",
        points=[
            PointAround(feature=one, x=x, y=y, density=density, label=label.text if label else None)
            for one, density, (x, y) in zip(ids, densities, found.positions_n2.round(_DECIMALS).tolist(), strict=True)
            for label in [entries[one].label]
        ],
    )
