"""Two served dictionaries beside each other: what they share, how features split, what is in one alone."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel

from semascope.errors import InputError, MismatchError
from semascope.features import Comparison, Counterpart, Filter, Sort
from semascope.runs import find_compared, why_not_comparable
from semascope.server.parameters import Feature, Run, Runs, served_run
from semascope.server.problems import not_found, problems
from semascope.server.served import ServedRun
from semascope.server.shown import FeatureSummary, summaries

router = APIRouter(prefix="/runs/{run}", tags=["counterparts"], responses=problems(404, 422))

_BINS = 40

Kind = Literal["split", "alone", "shared"]


class ComparableRun(BaseModel):
    """A served run of the same model and site; ``command``: what makes the comparison, null where it was made."""

    name: str
    variant: str
    n_features: int
    command: str | None


class ComparedSide(BaseModel):
    """One of two dictionaries.

    Of the features that fire, ``n_shared`` are the best counterpart of their best counterpart, ``n_split`` are that of
    several features of the other, and ``n_alone`` have none. ``cosines``: how many have a best cosine in each of equal
    intervals from 0 to 1.
    """

    n_features: int
    n_firing: int
    n_shared: int
    n_split: int
    n_alone: int
    cosines: list[int]


class ComparedRuns(BaseModel):
    """Two dictionaries, ``here`` and ``there``.

    ``threshold``: the cosine from which on features are counterparts; ``chance``: what 99 % of random directions do not
    reach. ``same_text``: whether both were indexed on the same tokens.
    """

    threshold: float
    chance: float
    same_text: bool
    here: ComparedSide
    there: ComparedSide


class ComparedFeature(FeatureSummary):
    """A feature with the one of the other dictionary that is nearest to it, and how many children it has there."""

    best: int
    cosine: float
    n_children: int


class ComparedFeatures(BaseModel):
    """A part of a list of features; ``total``: how many the whole list has."""

    total: int
    features: list[ComparedFeature]


class ShownCounterpart(FeatureSummary):
    """A feature of the other dictionary that is like the one at hand.

    ``share``: of the tokens on which the feature at hand fires, on how many this one does; ``share_there`` the other
    way round; null where the two were not indexed on the same tokens.
    """

    cosine: float
    share: float | None
    share_there: float | None


class FeatureFamily(BaseModel):
    """A feature in the other dictionary, the nearest first.

    ``counterparts``: those of near directions or that fire together with it, also when their cosine is below the
    threshold. ``children``: all features there whose best counterpart it is.
    """

    threshold: float
    same_text: bool
    counterparts: list[ShownCounterpart]
    children: list[ShownCounterpart]


def _other_run(served: Runs, other: Annotated[str, Path(description="The name of the run to compare with.")]) -> Run:
    return served_run(served, other)


Other = Annotated[ServedRun, Depends(_other_run)]


def _compared(
    run: Run,
    other: Other,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="The cosine of counterparts; beyond chance without it.")
    ] = None,
) -> Comparison:
    try:
        found = find_compared(run.run, other.run)
    except MismatchError as error:
        raise HTTPException(422, str(error)) from error
    if found is None:
        how = _command(run, other)
        raise not_found(f"'{run.name}' and '{other.name}' were not compared yet: do it with '{how}', then try again")
    return found if threshold is None else found.at(threshold)


Compared = Annotated[Comparison, Depends(_compared)]


@router.get("/comparable")
def list_comparable(served: Runs, run: Run) -> list[ComparableRun]:
    """The served runs that a run can be compared with, those with which it was first."""
    found = [one for other in served if other is not run and (one := _comparable(run, other))]
    return sorted(found, key=lambda one: one.command is not None)


@router.get("/compared/{other}")
def get_comparison(compared: Compared) -> ComparedRuns:
    """Two runs beside each other."""
    return ComparedRuns(
        threshold=compared.threshold,
        chance=compared.chance,
        same_text=compared.same_text,
        here=_side(compared),
        there=_side(compared.turned),
    )


@router.get("/compared/{other}/features")
def list_compared(
    run: Run,
    compared: Compared,
    kind: Kind = "split",
    sort: Sort | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> ComparedFeatures:
    """Features of the first run: those that split, those that the other does not have, or those that both have.

    Without ``sort`` the most children, the least like anything, or the most alike come first.
    """
    found = {"split": compared.split, "alone": compared.alone, "shared": compared.shared}[kind]()
    if sort is not None:
        found = run.index.select(Filter(among=found.tolist()), sort=sort)
    shown = found[offset : offset + limit].tolist()
    n_children_F = compared.n_children()
    return ComparedFeatures(
        total=len(found),
        features=[
            ComparedFeature(
                **one.model_dump(),
                best=int(compared.here.best_F[one.feature]),
                cosine=float(compared.here.cosine_F[one.feature]),
                n_children=int(n_children_F[one.feature]),
            )
            for one in summaries(run, run.index.of(shown))
        ],
    )


@router.get("/features/{feature}/counterparts/{other}")
def get_family(feature: Feature, other: Other, compared: Compared) -> FeatureFamily:
    """A feature's counterparts in another run, and its children there."""
    return FeatureFamily(
        threshold=compared.threshold,
        same_text=compared.same_text,
        counterparts=_shown(other, compared.counterparts(feature)),
        children=_shown(other, compared.family(feature).children),
    )


def _comparable(run: ServedRun, other: ServedRun) -> ComparableRun | None:
    if why_not_comparable(run.run, other.run):
        return None
    try:
        compared = find_compared(run.run, other.run) is not None
    except InputError:  # a copy
        return None
    return ComparableRun(
        name=other.name,
        variant=other.run.config.training.variant.variant,
        n_features=other.index.n_features,
        command=None if compared else _command(run, other),
    )


def _command(run: ServedRun, other: ServedRun) -> str:
    return shlex.join(["semascope", "compare", str(run.run.folder), str(other.run.folder)])


def _side(compared: Comparison) -> ComparedSide:
    n_active_F = compared.here.n_active_F
    return ComparedSide(
        n_features=len(n_active_F),
        n_firing=int((n_active_F > 0).sum()),
        n_shared=len(compared.shared()),
        n_split=len(compared.split()),
        n_alone=len(compared.alone()),
        cosines=compared.histogram(_BINS).tolist(),
    )


def _shown(run: ServedRun, counterparts: list[Counterpart] | tuple[Counterpart, ...]) -> list[ShownCounterpart]:
    known = summaries(run, run.index.of([one.feature for one in counterparts]))
    return [
        ShownCounterpart(**of.model_dump(), cosine=one.cosine, share=one.share, share_there=one.share_there)
        for of, one in zip(known, counterparts, strict=True)
    ]
