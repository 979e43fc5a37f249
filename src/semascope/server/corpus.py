"""The text that was indexed: its documents, and how a feature is distributed over its sources."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from semascope.errors import InputError
from semascope.features.documents import Passage
from semascope.server.caching import KEPT_WITH_THE_INDEX
from semascope.server.parameters import Feature, Run, check_feature
from semascope.server.problems import not_found, problems
from semascope.server.shown import ShownToken, place_among, shown_tokens

router = APIRouter(prefix="/runs/{run}", tags=["corpus"], responses=problems(404, 422))


class SourceShare(BaseModel):
    """A feature in one source of the corpus.

    ``n_active`` of the source's ``n_tokens`` tokens make it fire; ``share`` of its summed activation lies there.
    ``lift``: that share over the source's share of all tokens; 1 where the feature does not care.
    """

    source: str
    n_tokens: int
    n_active: int
    share: float
    lift: float


class Document(BaseModel):
    """A document of ``n_tokens`` tokens, of which a part is shown; it ``begins`` and ``ends`` with it or not.

    ``values`` of tokens are those of the feature asked for, otherwise 0. ``at``: which of ``tokens`` is the place asked
    for.
    """

    document: int
    source: str
    n_tokens: int
    begins: bool
    ends: bool
    tokens: list[ShownToken]
    at: int | None


@router.get("/features/{feature}/sources", dependencies=[KEPT_WITH_THE_INDEX])
def list_sources(run: Run, feature: Feature) -> list[SourceShare]:
    """How a feature's activation is distributed over the sources of the corpus, the largest share first."""
    return [SourceShare.model_validate(one, from_attributes=True) for one in run.index.sources(feature)]


@router.get("/documents/{document}", dependencies=[KEPT_WITH_THE_INDEX])
def get_document(
    run: Run,
    document: Annotated[int, Path(ge=0, lt=2**31)],
    feature: Annotated[int | None, Query(description="Whose activation is shown.")] = None,
    window: Annotated[int | None, Query(ge=0, lt=2**31, description="A window that the document lies in.")] = None,
    position: Annotated[int | None, Query(ge=0, lt=2**31, description="A place in that window.")] = None,
) -> Document:
    """The text of a document, or of a long one the neighbourhood of a window."""
    if feature is not None:
        check_feature(run, feature)
    try:
        found = run.index.document(document, feature=feature, around=window)
    except InputError as error:
        raise not_found(str(error)) from error
    tokens = [token for passage in found.passages for token in passage.tokens]
    values = [value for passage in found.passages for value in passage.values] or [0.0] * len(tokens)
    shown = shown_tokens(run, tokens, values)
    place = None if window is None or position is None else _place(found.passages, window, position)
    return Document(
        document=found.document,
        source=found.source,
        n_tokens=found.n_tokens,
        begins=found.begins,
        ends=found.ends,
        tokens=shown,
        at=None if place is None else place_among(shown, place),
    )


def _place(passages: tuple[Passage, ...], window: int, position: int) -> int | None:
    """How many tokens of the passages stand before a place in a window; None when it is in none of them."""
    before = 0
    for passage in passages:
        if passage.window == window and passage.start <= position < passage.start + len(passage.tokens):
            return before + position - passage.start
        before += len(passage.tokens)
    return None
