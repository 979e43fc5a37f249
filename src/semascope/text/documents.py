"""Readers: files, folders, hub datasets and the embedded sample as one stream of documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from semascope.errors import DataError
from semascope.records import Document
from semascope.text.hub import parse_hub_name, read_hub_rows
from semascope.text.rows import ROW_READERS, kind, missing_column, read_rows, read_text_file, unknown_suffix
from semascope.text.sample import read_sample

_BLANK_LINES = re.compile(r"\n\s*\n")
_TEXT_SUFFIXES = (".txt", ".md")
_SUFFIXES = (*_TEXT_SUFFIXES, *ROW_READERS)


def read_documents(source: str, *, field: str | None = None, shuffle_seed: int | None = None) -> Iterator[Document]:
    """Read a corpus from the beginning.

    ``source``: ``sample`` (the embedded one); a ``.txt`` or ``.md`` file (its paragraphs are the documents); a
    ``.jsonl``, ``.json`` (a list), ``.csv`` or ``.parquet`` file; a folder of such files, read recursively (a text file
    is then one document); or a dataset of the Hugging Face hub as ``owner/name``, ``owner/name/configuration`` or
    either with ``:split`` (``train`` unless given). ``field`` is the column that holds the text (``text`` unless
    given); a column ``labels`` with lists of strings (in CSV: with commas between them) becomes the labels. With
    ``shuffle_seed`` the shards of a hub dataset are shuffled.

    Raises DataError for a source that is missing, empty or of another format, and UnavailableError without a network.
    """
    found = False
    for document in _from_source(source, field or "text", shuffle_seed):
        found = True
        yield document
    if not found:
        raise DataError(f"'{source}' holds no text: give a file, a folder or a dataset with at least one document")


def _from_source(source: str, field: str, shuffle_seed: int | None) -> Iterator[Document]:
    if source == "sample":
        return read_sample()
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path, field)
    if path.is_file():
        if path.suffix.lower() in _TEXT_SUFFIXES:
            return _paragraphs(path)
        if path.suffix.lower() not in ROW_READERS:
            raise unknown_suffix(path, _SUFFIXES)
        return _from_rows(path, field)
    if path.suffix.lower() not in _SUFFIXES and (name := parse_hub_name(source)):
        rows = read_hub_rows(name, shuffle_seed=shuffle_seed)
        return (document for row in rows for document in _from_row(row, field, source))
    raise DataError(
        f"'{source}' does not exist: expected 'sample', a file ({', '.join(_SUFFIXES)}), a folder of such files, or a "
        "dataset of the Hugging Face hub as OWNER/NAME[/CONFIGURATION][:SPLIT]"
    )


def _from_folder(folder: Path, field: str) -> Iterator[Document]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        if path.suffix.lower() in _TEXT_SUFFIXES:
            if text := read_text_file(path).strip():
                yield Document(text, str(path))
        elif path.suffix.lower() in ROW_READERS:
            yield from _from_rows(path, field)


def _paragraphs(path: Path) -> Iterator[Document]:
    for block in _BLANK_LINES.split(read_text_file(path)):
        if text := block.strip():
            yield Document(text, str(path))


def _from_rows(path: Path, field: str) -> Iterator[Document]:
    for place, row in read_rows(path, (field, "labels")):
        yield from _from_row(row, field, str(path), place)


def _from_row(row: Any, field: str, source: str, place: str | None = None) -> Iterator[Document]:
    """One document, or none where the text is empty or null."""
    place = place or source
    columns = cast(Mapping[str, Any], row)
    if field not in columns:
        raise missing_column(field, list(columns), place)
    text, labels = columns[field], columns.get("labels")
    if text is None:
        return
    if not isinstance(text, str):
        raise DataError(f"{place}: the field '{field}' holds a {kind(text)} where text was expected")
    if text.strip():
        yield Document(text, source, _labels(labels, place))


def _labels(labels: Any, place: str) -> frozenset[str]:
    if labels is None:
        return frozenset()
    if isinstance(labels, list) and all(isinstance(label, str) for label in cast(list[Any], labels)):
        return frozenset(cast(list[str], labels))
    raise DataError(f"{place}: 'labels' is {labels!r} where a list of strings was expected")
