"""Readers: files, folders, hub datasets and the embedded sample as one stream of documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet

from semascope.errors import DataError
from semascope.records import Document
from semascope.text.hub import parse_hub_name, read_hub_rows
from semascope.text.sample import read_sample

_BLANK_LINES = re.compile(r"\n\s*\n")


def read_documents(source: str, *, field: str | None = None, shuffle_seed: int | None = None) -> Iterator[Document]:
    """Read a corpus from the beginning.

    ``source``: ``sample`` (the embedded one); a ``.txt`` or ``.md`` file (its paragraphs are the documents); a
    ``.jsonl``, ``.json`` (a list) or ``.parquet`` file; a folder of such files, read recursively (a text file is then
    one document); or a dataset of the Hugging Face hub as ``owner/name``, ``owner/name/configuration`` or either with
    ``:split`` (``train`` unless given). ``field`` is the column that holds the text (``text`` unless given); a column
    ``labels`` with lists of strings becomes the labels. With ``shuffle_seed`` the shards of a hub dataset are shuffled.

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
        return _reader(path)(path, field)
    if path.suffix.lower() not in (*_TEXT_SUFFIXES, *_ROW_READERS) and (name := parse_hub_name(source)):
        rows = read_hub_rows(name, shuffle_seed=shuffle_seed)
        return (document for row in rows for document in _from_row(row, field, source))
    raise DataError(
        f"'{source}' does not exist: expected 'sample', a file ({_suffixes()}), a folder of such files, or a dataset "
        "of the Hugging Face hub as OWNER/NAME[/CONFIGURATION][:SPLIT]"
    )


def _from_folder(folder: Path, field: str) -> Iterator[Document]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        if path.suffix.lower() in _TEXT_SUFFIXES:
            if text := _read_text(path).strip():
                yield Document(text, str(path))
        elif path.suffix.lower() in _ROW_READERS:
            yield from _reader(path)(path, field)


def _reader(path: Path) -> Callable[[Path, str], Iterator[Document]]:
    try:
        return _ROW_READERS[path.suffix.lower()]
    except KeyError:
        raise DataError(
            f"{path} has the unknown suffix '{path.suffix}': expected one of {_suffixes()}; rename or convert it"
        ) from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it, or leave it out")


def _paragraphs(path: Path) -> Iterator[Document]:
    for block in _BLANK_LINES.split(_read_text(path)):
        if text := block.strip():
            yield Document(text, str(path))


def _from_jsonl(path: Path, field: str) -> Iterator[Document]:
    with path.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    place = f"{path} line {number}"
                    yield from _from_row(_parse_json(line, place), field, str(path), place)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error


def _from_json(path: Path, field: str) -> Iterator[Document]:
    rows = _parse_json(_read_text(path), str(path))
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {_kind(rows)} where a list of rows was expected")
    for number, row in enumerate(cast(list[Any], rows)):
        yield from _from_row(row, field, str(path), f"{path} row {number}")


def _from_parquet(path: Path, field: str) -> Iterator[Document]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names: list[str] = file.schema_arrow.names
            if field not in names:
                raise _missing_field(field, names, str(path))
            columns = [name for name in (field, "labels") if name in names]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    yield from _from_row(row, field, str(path))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file ({error}): make or download it again") from error


_TEXT_SUFFIXES = (".txt", ".md")
_ROW_READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".jsonl": _from_jsonl,
    ".json": _from_json,
    ".parquet": _from_parquet,
}


def _suffixes() -> str:
    return ", ".join((*_TEXT_SUFFIXES, *_ROW_READERS))


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is not JSON ({error}): correct it, or leave it out") from error


def _from_row(row: Any, field: str, source: str, place: str | None = None) -> Iterator[Document]:
    """One document, or none where the text is empty or null."""
    place = place or source
    if not isinstance(row, Mapping):
        raise DataError(f"{place} is a JSON {_kind(row)} where an object with the field '{field}' was expected")
    columns = cast(Mapping[str, Any], row)
    if field not in columns:
        raise _missing_field(field, list(columns), place)
    text, labels = columns[field], columns.get("labels")
    if text is None:
        return
    if not isinstance(text, str):
        raise DataError(f"{place}: the field '{field}' holds a {_kind(text)} where text was expected")
    if text.strip():
        yield Document(text, source, _labels(labels, place))


def _labels(labels: Any, place: str) -> frozenset[str]:
    if labels is None:
        return frozenset()
    if isinstance(labels, list) and all(isinstance(label, str) for label in cast(list[Any], labels)):
        return frozenset(cast(list[str], labels))
    raise DataError(f"{place}: 'labels' is {labels!r} where a list of strings was expected")


def _missing_field(field: str, names: list[str], place: str) -> DataError:
    return DataError(
        f"{place} has no field '{field}': it has {', '.join(names) or 'none'}; choose the one that holds the text"
    )


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", int: "number", float: "number", bool: "truth value"}
    return names.get(type(value), type(value).__name__)
