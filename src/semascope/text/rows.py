"""Rows of files as mappings from columns to values: JSONL, JSON lists, CSV and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet

from semascope.errors import DataError

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, for messages, and its columns."""

_LONGEST_CELL = 1 << 27  # a document in a cell; the default of Python's reader is 131,072 characters


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a ``.jsonl``, ``.json`` (a list of objects), ``.csv`` (with a heading) or ``.parquet`` file.

    The first of ``columns`` must be there; of a Parquet file only ``columns`` are read. In a CSV, where all is text,
    ``labels`` stand with commas between them. Raises DataError for a file of another format, with the place.
    """
    if path.suffix.lower() not in ROW_READERS:
        raise unknown_suffix(path, list(ROW_READERS))
    for place, row in ROW_READERS[path.suffix.lower()](path, columns):
        if not isinstance(row, Mapping):
            raise DataError(f"{place} is a JSON {kind(row)} where an object with the field '{columns[0]}' was expected")
        named = cast(Mapping[str, Any], row)
        if columns[0] not in named:
            raise missing_column(columns[0], list(named), place)
        yield place, named


def read_text_file(path: Path) -> str:
    """A whole UTF-8 file. Raises DataError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def parse_json(text: str, place: str) -> Any:
    """A JSON value. Raises DataError that names the place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is not JSON ({error}): correct it, or leave it out") from error


def unknown_suffix(path: Path, suffixes: Sequence[str]) -> DataError:
    """The error for a file whose name does not say that it can be read."""
    return DataError(
        f"{path} has the unknown suffix '{path.suffix}': expected one of {', '.join(suffixes)}; rename or convert it"
    )


def missing_column(column: str, names: Sequence[str], place: str, holds: str = "text") -> DataError:
    """The error for a column that is not there."""
    return DataError(
        f"{place} has no field '{column}': it has {', '.join(names) or 'none'}; choose the one that holds the {holds}"
    )


def kind(value: Any) -> str:
    """What JSON calls a value."""
    names = {dict: "object", list: "list", str: "string", int: "number", float: "number", bool: "truth value"}
    return names.get(type(value), type(value).__name__)


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it, or leave it out")


def _jsonl(path: Path, _: Sequence[str]) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path} line {number}", parse_json(line, f"{path} line {number}")
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error


def _json(path: Path, _: Sequence[str]) -> Iterator[tuple[str, Any]]:
    rows = parse_json(read_text_file(path), str(path))
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {kind(rows)} where a list of rows was expected")
    for number, row in enumerate(cast(list[Any], rows)):
        yield f"{path} row {number}", row


def _csv(path: Path, _: Sequence[str]) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                place = f"{path} line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(
                        f"{place} has another number of cells than the heading's {len(reader.fieldnames or [])}: put "
                        "text with commas or line breaks between quotation marks"
                    )
                if "labels" in row:
                    labels = [label.strip() for label in row["labels"].split(",") if label.strip()]
                    yield place, {**row, "labels": labels}
                else:
                    yield place, row
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error
        except csv.Error as error:
            raise DataError(f"{path} line {reader.line_num} is not CSV ({error}): correct it") from error


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names: list[str] = file.schema_arrow.names
            if columns[0] not in names:
                raise missing_column(columns[0], names, str(path))
            for batch in file.iter_batches(batch_size=1024, columns=[name for name in columns if name in names]):
                for row in batch.to_pylist():
                    yield str(path), row
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file ({error}): make or download it again") from error


ROW_READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[tuple[str, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
