"""Features: lists of them, and what is known of one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from semascope.features import Filter, Neighbour
from semascope.runs import FeatureSort, ordered
from semascope.server.parameters import Feature, Run, check_feature
from semascope.server.problems import not_found, problems
from semascope.server.shown import FeatureSummary, LogitToken, WrittenText, summaries, summary

router = APIRouter(prefix="/runs/{run}/features", tags=["features"], responses=problems(404, 422))


class FeaturePage(BaseModel):
    """A part of a list of features; ``total``: how many the whole list has."""

    total: int
    features: list[FeatureSummary]


class NearFeature(BaseModel):
    """A feature whose decoder direction is near, by cosine; ``label`` is its text."""

    feature: int
    cosine: float
    label: str | None


class FeatureDetail(FeatureSummary):
    """All that is known of a feature but where it is active.

    ``quantiles``: of its active values, at 0.25, 0.5, 0.75, 0.9 and 0.99. ``histogram``: counts of them in equal bins
    from 0 to the maximum.
    """

    quantiles: list[float]
    histogram: list[int]
    suppressed: list[LogitToken]
    neighbours: list[NearFeature]
    note: WrittenText | None
    lists: list[str]


class FeatureChoice(BaseModel):
    """Which features, and in which order.

    ``search``: those whose label or note has words that begin with each word of it, those that fire on or promote a
    token in which each word stands (one of one or two letters as a word of its own), and those with all words in one of
    their strongest contexts. ``sort``: with a minus, largest first; without it, the best matches of a search
    come first, and otherwise the lowest ids. By a score, features without one come last.
    """

    search: str | None = Query(default=None, max_length=200)
    sort: FeatureSort | None = None
    alive: bool | None = Query(default=None, description="Only features that fire, or only those that never do.")
    labelled: bool | None = Query(default=None, description="Only features with a label, or only those without.")
    starred: bool | None = Query(default=None, description="Only features with a star, or only those without.")
    on_list: str | None = Query(default=None, description="Only the features on this list.")
    ids: Annotated[list[int] | None, Query(max_length=500, description="Only these features.")] = None
    min_density: float = Query(default=0, ge=0, le=1)
    max_density: float = Query(default=1, ge=0, le=1)
    limit: int = Query(default=50, ge=1, le=200)
    offset: int = Query(default=0, ge=0)


@router.get("")
def list_features(run: Run, choice: Annotated[FeatureChoice, Query()]) -> FeaturePage:
    """Features that pass all of the filters, in order, ``limit`` of them from the ``offset``-th on."""
    catalog = run.catalog
    wanted: set[int] | None = None
    unwanted: set[int] = set()
    for asked, having in ((choice.labelled, catalog.labelled), (choice.starred, catalog.starred)):
        if asked is True:
            wanted = _both(wanted, having())
        elif asked is False:
            unwanted.update(having())
    if choice.on_list is not None:
        if not catalog.has_list(choice.on_list):
            raise not_found(f"there is no list '{choice.on_list}' in '{run.name}'")
        wanted = _both(wanted, catalog.on_list(choice.on_list))
    if choice.ids is not None:
        for feature in choice.ids:
            check_feature(run, feature)
        wanted = _both(wanted, choice.ids)
    found = run.index.select(
        Filter(
            choice.alive, choice.min_density, choice.max_density,
            among=None if wanted is None else sorted(wanted), apart_from=sorted(unwanted),
        ),
        sort=ordered(run.run, choice.sort),
        search=choice.search,
        named=catalog.search(choice.search) if choice.search else (),
        n_in_order=choice.offset + choice.limit,
    )  # fmt: skip
    shown = found[choice.offset : choice.offset + choice.limit].tolist()
    return FeaturePage(total=len(found), features=summaries(run, run.index.of(shown)))


@router.get("/{feature}")
def get_feature(run: Run, feature: Feature) -> FeatureDetail:
    """What is known of a feature."""
    statistics, entry = run.index.statistics(feature), run.catalog.entry(feature)
    return FeatureDetail(
        **summary(run, statistics, entry).model_dump(),
        quantiles=list(statistics.quantiles),
        histogram=list(statistics.histogram),
        suppressed=[LogitToken(token=one.token, text=one.text, logit=one.weight) for one in statistics.suppressed],
        neighbours=_near(run, statistics.neighbours),
        note=WrittenText.of(entry.note),
        lists=list(entry.lists),
    )


def _both(wanted: set[int] | None, ids: list[int]) -> set[int]:
    return set(ids) if wanted is None else wanted.intersection(ids)


def _near(run: Run, neighbours: tuple[Neighbour, ...]) -> list[NearFeature]:
    entries = run.catalog.entries([one.feature for one in neighbours])
    return [
        NearFeature(feature=one.feature, cosine=one.cosine, label=label.text if label else None)
        for one in neighbours
        for label in [entries[one.feature].label]
    ]
