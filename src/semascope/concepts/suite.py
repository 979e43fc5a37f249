"""Concepts by which a dictionary is asked what it knows, and suites of them, which are YAML files.

concepts:
  - name: Cities
    label: city            # texts with this label have the concept
    among: wikipedia-en    # and are told from the others of this source, or with this label
    sisters: [country]     # labels of the concepts that are nearest to it
  - name: Secrecy
    label: secrecy
    texts:                 # texts of one's own, which carry the label
      - Nobody outside this room may ever hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.errors import DataError
from semascope.records import Document

Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that texts can be about.

    A text has it when it carries ``label``; it is compared with texts that do not, among those whose source or label
    is ``among`` (all, when None). ``sisters`` are the labels of concepts that are easily taken for it.
    """

    name: str
    label: str
    among: str | None = None
    sisters: tuple[str, ...] = ()

    def is_positive(self, document: Document) -> bool:
        """Whether the text has the concept."""
        return self._concerns(document) and self.label in document.labels

    def is_negative(self, document: Document) -> bool:
        """Whether the text is one of those that the concept must be told from."""
        return self._concerns(document) and self.label not in document.labels

    def is_sister(self, document: Document) -> bool:
        """Whether the text is about a concept that is near to it, and not about it."""
        return self.label not in document.labels and not document.labels.isdisjoint(self.sisters)

    def _concerns(self, document: Document) -> bool:
        return self.among is None or self.among == document.source or self.among in document.labels


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    label: Name
    among: Name | None = None
    sisters: list[Name] = []
    texts: list[Name] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    concepts: Annotated[list[_Entry], Field(min_length=1)]


@dataclass(frozen=True)
class Suite:
    """Concepts that are asked for together, and the texts that their file brings along."""

    name: str
    concepts: tuple[Concept, ...]
    documents: tuple[Document, ...] = ()


def suite_names() -> list[str]:
    """The suites that come with Semascope."""
    return sorted(_built_in())


def read_suite(name_or_file: str) -> Suite:
    """A suite that comes with Semascope, by name, or one's own, by its YAML file.

    Raises DataError when there is none, or its file is not what is expected.
    """
    path = Path(name_or_file).expanduser()
    built_in = _built_in()
    if name_or_file in built_in:
        return _parsed(built_in[name_or_file], name_or_file, f"the suite '{name_or_file}'")
    if not path.is_file():
        raise DataError(
            f"there is no suite '{name_or_file}': choose one of {', '.join(suite_names())}, or give a YAML file"
        )
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), path.stem, str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it") from error


def read_concept(text: str) -> tuple[Concept, Suite]:
    """The concept that ``SUITE:NAME`` names, by its name or its label in any case of letters, and its suite.

    Raises DataError when there is none.
    """
    suite_name, colon, name = text.rpartition(":")
    if not colon:
        raise DataError(f"'{text}' names no concept: expected SUITE:NAME, such as things:Cities")
    suite = read_suite(suite_name)
    for concept in suite.concepts:
        if name.strip().lower() in (concept.name.lower(), concept.label.lower()):
            return concept, suite
    names = ", ".join(concept.name for concept in suite.concepts)
    raise DataError(f"the suite '{suite_name}' has no concept '{name}': it has {names}")


def _built_in() -> dict[str, str]:
    folder = files("semascope.concepts") / "suites"
    found = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in found}


def _parsed(text: str, name: str, place: str) -> Suite:
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{place} is not YAML ({' '.join(str(error).split())}): correct it") from error
    try:
        entries = _File.model_validate(content).concepts
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(
            f"{place} is no suite of concepts: {where}: {first['msg']} (given: {first['input']!r}); expected a list "
            "'concepts' of entries with name, label and, if wanted, among, sisters and texts"
        ) from error
    names = [entry.name for entry in entries]
    if repeated := sorted({one for one in names if names.count(one) > 1}):
        raise DataError(f"{place} has more than one concept named {', '.join(repeated)}: give each its own name")
    concepts = tuple(Concept(one.name, one.label, one.among, tuple(one.sisters)) for one in entries)
    return Suite(name, concepts, tuple(_own_texts(entries, name)))


def _own_texts(entries: list[_Entry], name: str) -> Iterator[Document]:
    """Each text once, with the labels of all concepts that bring it; their source is the suite."""
    labels: dict[str, set[str]] = {}
    for entry in entries:
        for text in entry.texts:
            labels.setdefault(text, set()).add(entry.label)
    for text, given in labels.items():
        yield Document(text, name, frozenset(given))


EMBEDDED_SUITE = read_suite("demo").concepts
