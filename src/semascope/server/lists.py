"""Lists of features that people keep."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, StringConstraints

from semascope.server.notes import Annotations, added
from semascope.server.parameters import Feature, Run
from semascope.server.problems import not_found, problems

router = APIRouter(prefix="/runs/{run}/lists", tags=["lists"], responses=problems(404, 422))

_INSIDE = r"/\\\x00-\x1f\x7f"
_NAME = rf"^[^{_INSIDE}]*[^.{_INSIDE}][^{_INSIDE}]*$"

Name = Annotated[str, Path(description="The name of a list.")]


class ListName(BaseModel):
    """The name of a list to begin. It stands in addresses, so it has no slash and is not made of dots."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=_NAME)]


class KeptList(BaseModel):
    """A list; ``created``: UTC, ISO 8601."""

    name: str
    n_features: int
    created: str


@router.get("")
def list_lists(run: Run) -> list[KeptList]:
    """Every list, by name."""
    return [KeptList(name=one.name, n_features=one.n_features, created=one.created) for one in run.catalog.lists()]


@router.post("")
def begin_list(run: Run, new: ListName) -> list[KeptList]:
    """Begin a list, if there is none of this name; every list comes back."""
    run.catalog.add_list(new.name)
    return list_lists(run)


@router.delete("/{name}")
def remove_list(run: Run, name: Name) -> list[KeptList]:
    """Remove a list; its features stay as they are. The other lists come back."""
    _require(run, name)
    run.catalog.remove_list(name)
    return list_lists(run)


@router.put("/{name}/features/{feature}")
def add_to_list(run: Run, name: Name, feature: Feature) -> Annotations:
    """Put a feature on a list."""
    _require(run, name)
    run.catalog.list_feature(name, feature)
    return added(run, feature)


@router.delete("/{name}/features/{feature}")
def take_off_list(run: Run, name: Name, feature: Feature) -> Annotations:
    """Take a feature off a list."""
    _require(run, name)
    run.catalog.list_feature(name, feature, listed=False)
    return added(run, feature)


def _require(run: Run, name: str) -> None:
    if not run.catalog.has_list(name):
        raise not_found(f"there is no list '{name}' in '{run.name}'")
