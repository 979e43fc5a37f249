"""What people add to a feature: its label, a note, a star."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, StringConstraints

from semascope.catalog import Entry
from semascope.server.parameters import Feature, Run
from semascope.server.problems import problems
from semascope.server.shown import WrittenText

router = APIRouter(prefix="/runs/{run}/features/{feature}", tags=["notes"], responses=problems(404, 422))


class LabelText(BaseModel):
    """A label: a few words."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class NoteText(BaseModel):
    """A note, as long as a page or two."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


class Annotations(BaseModel):
    """What was added to a feature, after a change."""

    feature: int
    label: WrittenText | None
    note: WrittenText | None
    starred: bool
    lists: list[str]

    @classmethod
    def of(cls, feature: int, entry: Entry) -> Annotations:
        """What the catalog has of it."""
        return cls(
            feature=feature,
            label=WrittenText.of(entry.label),
            note=WrittenText.of(entry.note),
            starred=entry.starred,
            lists=list(entry.lists),
        )


@router.put("/label")
def write_label(run: Run, feature: Feature, label: LabelText) -> Annotations:
    """Label a feature, in place of the label that it has."""
    run.catalog.write(feature, "label", label.text)
    return added(run, feature)


@router.delete("/label")
def erase_label(run: Run, feature: Feature) -> Annotations:
    """Remove a feature's label, if it has one."""
    run.catalog.erase(feature, "label")
    return added(run, feature)


@router.put("/note")
def write_note(run: Run, feature: Feature, note: NoteText) -> Annotations:
    """Note something about a feature, in place of the note that it has."""
    run.catalog.write(feature, "note", note.text)
    return added(run, feature)


@router.delete("/note")
def erase_note(run: Run, feature: Feature) -> Annotations:
    """Remove a feature's note, if it has one."""
    run.catalog.erase(feature, "note")
    return added(run, feature)


@router.put("/star")
def add_star(run: Run, feature: Feature) -> Annotations:
    """Give a feature a star."""
    run.catalog.star(feature)
    return added(run, feature)


@router.delete("/star")
def remove_star(run: Run, feature: Feature) -> Annotations:
    """Take a feature's star away."""
    run.catalog.star(feature, starred=False)
    return added(run, feature)


def added(run: Run, feature: int) -> Annotations:
    """What was added to a feature."""
    return Annotations.of(feature, run.catalog.entry(feature))
