"""Texts of which somebody has said what they are: a column of labels, or a file of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from semascope.errors import DataError
from semascope.records import Document
from semascope.text.documents import read_documents
from semascope.text.rows import kind, missing_column, read_rows

_YES = ("1", "true", "yes", "positive")
POSITIVE = "positive"


def read_labelled(path: Path, *, text_column: str = "text", label_column: str = "label") -> list[Document]:
    """The texts of a JSONL, JSON, CSV or Parquet file with what their column of labels says, as strings.

    A label is a text, a number, a truth value, or a list of texts; a text without any has the empty set. The same text
    twice is one text with the labels of both. Raises DataError for a file that is missing, empty, of another format, or
    without one of the columns.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist: expected a file with a column of texts and one of labels")
    texts: dict[str, Document] = {}
    for place, row in read_rows(path, (text_column, label_column)):
        if label_column not in row:
            raise missing_column(label_column, list(row), place, holds="label")
        text = row[text_column]
        if not isinstance(text, str):
            raise DataError(f"{place}: the field '{text_column}' holds a {kind(text)} where text was expected")
        if text.strip():
            read = Document(text, str(path), _labels(row[label_column], place))
            known = texts.get(read.id)
            texts[read.id] = read if known is None else Document(text, str(path), known.labels | read.labels)
    if not texts:
        raise DataError(f"{path} holds no text: give a file with at least one row")
    return list(texts.values())


def positive_label(documents: Sequence[Document], asked: str | None, place: str) -> str:
    """The label whose texts are the positive ones: the one asked for, else one that says yes.

    Raises DataError when no text has it, when all have it, or when it has to be asked for.
    """
    labels = sorted({label for document in documents for label in document.labels})
    if asked is None:
        yes = [label for label in labels if label.lower() in _YES]
        if len(yes) != 1:
            raise DataError(f"{place} has the labels {_listed(labels)}: say which of them to look for")
        [asked] = yes
    with_it = sum(asked in document.labels for document in documents)
    if not with_it:
        raise DataError(f"no text in {place} has the label '{asked}': it has {_listed(labels)}")
    if with_it == len(documents):
        raise DataError(
            f"all {with_it} texts in {place} have the label '{asked}': a feature can only be found by what tells them "
            "from other texts; add texts without it"
        )
    return asked


def read_two_sides(positive: str, negative: str, *, text_column: str | None = None) -> list[Document]:
    """The texts of two sources as in ``read_documents``, the first with the label ``POSITIVE``.

    Raises DataError when a text is in both, and as ``read_documents`` does.
    """
    sides = [{one.id: one for one in read_documents(source, field=text_column)} for source in (positive, negative)]
    if shared := sides[0].keys() & sides[1].keys():
        text = sides[0][min(shared)].text
        raise DataError(f"{len(shared)} texts are in both {positive} and {negative}, for example {text[:60]!r}")
    return [Document(one.text, one.source, frozenset({POSITIVE})) for one in sides[0].values()] + [
        Document(one.text, one.source) for one in sides[1].values()
    ]


def _labels(value: Any, place: str) -> frozenset[str]:
    if value is None or value == "":
        return frozenset()
    if isinstance(value, list) and all(isinstance(label, str) for label in cast(list[Any], value)):
        return frozenset(cast(list[str], value))
    if isinstance(value, str | bool | int | float):
        return frozenset({str(value)})
    raise DataError(f"{place}: the label is {value!r} where a text, a number or a list of texts was expected")


def _listed(labels: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(label) for label in labels[:most]) or "none"
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")
