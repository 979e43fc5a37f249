"""The map of a run's features: every point in columns, what people named, and which points answer to a search."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from semascope.features import Filter
from semascope.server.caching import KEPT_WITH_THE_MAP, no_map
from semascope.server.parameters import Run
from semascope.server.problems import problems

router = APIRouter(prefix="/runs/{run}/map", tags=["map"], responses=problems(404, 422))

_DECIMALS = 4  # of a map that is two wide: finer than a pixel until it is magnified a hundred times


class MapRegion(BaseModel):
    """A region of the map: its ``scale`` from 0, the coarsest, its centre, its features, and what they fire on."""

    scale: int
    x: float
    y: float
    n_features: int
    name: str


class PointsOfMap(BaseModel):
    """The map in columns of equal length, one entry a feature; positions from -1 to 1, y upwards."""

    feature: list[int]
    x: list[float]
    y: list[float]
    density: list[float]
    regions: list[MapRegion]


class NamesOnMap(BaseModel):
    """The labels of features, and the concepts that features tell best, by feature."""

    labels: dict[int, str]
    concepts: dict[int, list[str]]


@router.get("", dependencies=[KEPT_WITH_THE_MAP])
def get_map(run: Run) -> PointsOfMap:
    """Every point of the map, and its regions; 404 when no map was made."""
    if (found := run.map) is None:
        raise no_map(run)
    x_n, y_n = found.positions_n2.astype(float).round(_DECIMALS).T
    return PointsOfMap(
        feature=found.features_n.tolist(),
        x=x_n.tolist(),
        y=y_n.tolist(),
        density=run.index.densities()[found.features_n].round(8).tolist(),
        regions=[
            MapRegion(scale=one.level, x=one.x, y=one.y, n_features=one.n_features, name=one.name)
            for one in found.regions
        ],
    )


@router.get("/names")
def get_map_names(run: Run) -> NamesOnMap:
    """What features are called, for all that are called something."""
    entries = run.catalog.entries(run.catalog.labelled())
    return NamesOnMap(
        labels={feature: entry.label.text for feature, entry in entries.items() if entry.label},
        concepts={feature: list(concepts) for feature, concepts in run.concepts.items()},
    )


@router.get("/found")
def search_map(run: Run, search: Annotated[str, Query(min_length=1, max_length=200)]) -> list[int]:
    """The features that fire and answer to a search, the best match first; a search as in the list of features."""
    return run.index.select(Filter(alive=True), search=search, named=run.catalog.search(search)).tolist()
