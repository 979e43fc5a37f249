"""A document as the index holds it: cut into windows, which are put together again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semascope.errors import InputError


@dataclass(frozen=True, slots=True)
class Passage:
    """The tokens of a document that lie in one window, from position ``start`` on.

    ``values``: the activation of a feature at each of them, where one was asked for; otherwise empty.
    """

    window: int
    start: int
    tokens: tuple[int, ...]
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document: its source, its tokens in all, and consecutive passages of it.

    ``begins`` and ``ends``: whether the first passage is the document's beginning, and the last one its end.
    """

    document: int
    source: str
    n_tokens: int
    begins: bool
    ends: bool
    passages: tuple[Passage, ...]


def windows_around(document: Mapping[str, Any], window: int | None, most: int) -> range:
    """The windows of a document (a row of documents.parquet) that are shown: ``most``, with ``window`` in the middle.

    Raises InputError when the document does not lie in that window, or when ``most`` is not positive.
    """
    first, last = document["first_window"], document["last_window"]
    centre = first if window is None else window
    if most < 1:
        raise InputError(f"{most} windows of a document were asked for: expected 1 or more")
    if not first <= centre <= last:
        raise InputError(
            f"document {document['document']} lies in the windows {first} to {last}, not in {window}: "
            "take the window and the document of one example"
        )
    start = max(first, min(centre - most // 2, last - most + 1))
    return range(start, min(start + most, last + 1))


def passage(document: int, window: Mapping[str, Any]) -> Passage | None:
    """What a window (a row of windows.parquet) holds of a document; None when nothing."""
    held = [place for place, number in enumerate(window["documents"]) if number == document]
    if not held:
        return None
    return Passage(window["window"], held[0], tuple(window["tokens"][held[0] : held[-1] + 1]))
