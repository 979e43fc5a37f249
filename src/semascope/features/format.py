"""The files of a feature index: names, columns, row groups, and whether a folder on disk is sound.

    features/
      activations/0000.parquet …   every activation, by feature, strongest first; a part holds a range of features
      windows.parquet              the tokens of every window and the document of each
      statistics.parquet           one row a feature, dead ones included
      tokens.parquet               the text of every token that appears anywhere in the index
      by_token.bin                 the features that fire on each token or promote it
      words.parquet                the words around the highest peaks of features
      by_word.bin                  the features of each word
      together.parquet             the features that fire together with each feature
      sources.parquet              the sources of the corpus and their tokens
      documents.parquet            the source of every document, and the windows that it lies in
      by_source.parquet            how each feature is distributed over the sources
      index.json                   what it was made from, and the bytes of each file; written last

Row groups are sized for one lookup: opening a file costs some 10 µs a row group, so activations come in parts whose
number of row groups is bounded, however many activations there are; windows and statistics are read by row group
number and have small ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from semascope.errors import DamagedError, FormatError
from semascope.files import read_json, write_json

FORMAT = "semascope-features"
FORMAT_VERSION = 3

QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99)
HISTOGRAM_BINS = 20
LISTED = 10  # top tokens, promoted and suppressed tokens, and neighbours that are kept of each feature

ACTIVATIONS_PER_PART = 4_000_000
FEATURES_PER_PART = 16_384
ACTIVATIONS_PER_ROW_GROUP = 65_536
TOKENS_PER_ROW_GROUP = 4_096
FEATURES_PER_ROW_GROUP = 256
MOST_ROWS_READ = 262_144  # by a search, of tokens or words; what would read more has rows of its own, one a feature
DOCUMENTS_PER_ROW_GROUP = 1_024
MOST_SOURCES = 200
COMPANIONS = 20  # features that fire together with one that are kept
COUNTERPARTS = 10  # features of another dictionary that are kept by cosine, and as many by firing together

INDEX_FILE = "index.json"
WINDOWS_FILE = "windows.parquet"
STATISTICS_FILE = "statistics.parquet"
BY_TOKEN_FILE = "by_token.bin"
TOKENS_FILE = "tokens.parquet"
BY_WORD_FILE = "by_word.bin"
WORDS_FILE = "words.parquet"
TOGETHER_FILE = "together.parquet"
SOURCES_FILE = "sources.parquet"
DOCUMENTS_FILE = "documents.parquet"
BY_SOURCE_FILE = "by_source.parquet"

ACTIVATIONS_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("window", pa.int32()),
        ("position", pa.int32()),
        ("token", pa.int32()),
        ("value", pa.float32()),
    ]
)
WINDOWS_SCHEMA = pa.schema(
    [("window", pa.int32()), ("tokens", pa.list_(pa.int32())), ("documents", pa.list_(pa.int32()))]
)
STATISTICS_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("part", pa.int32()),
        ("n_active", pa.int64()),
        ("density", pa.float64()),
        ("maximum", pa.float32()),
        ("mean", pa.float64()),
        ("quantiles", pa.list_(pa.float32())),
        ("histogram", pa.list_(pa.int64())),
        ("top_tokens", pa.list_(pa.int32())),
        ("top_shares", pa.list_(pa.float32())),
        ("promoted_tokens", pa.list_(pa.int32())),
        ("promoted_logits", pa.list_(pa.float32())),
        ("suppressed_tokens", pa.list_(pa.int32())),
        ("suppressed_logits", pa.list_(pa.float32())),
        ("neighbours", pa.list_(pa.int32())),
        ("cosines", pa.list_(pa.float32())),
    ]
)
TOKENS_SCHEMA = pa.schema([("token", pa.int32()), ("text", pa.string()), ("n_rows", pa.int64())])
WORDS_SCHEMA = pa.schema([("word", pa.string()), ("beginning", pa.bool_()), ("n_rows", pa.int64())])
TOGETHER_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("others", pa.list_(pa.int32())),
        ("n_together", pa.list_(pa.int64())),
        ("phis", pa.list_(pa.float32())),
    ]
)
SOURCES_SCHEMA = pa.schema([("source", pa.string()), ("n_tokens", pa.int64())])
DOCUMENTS_SCHEMA = pa.schema(
    [
        ("document", pa.int32()),
        ("source", pa.int32()),
        ("first_window", pa.int32()),
        ("last_window", pa.int32()),
        ("n_tokens", pa.int32()),
    ]
)
BY_SOURCE_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("sources", pa.list_(pa.int32())),
        ("n_active", pa.list_(pa.int64())),
        ("masses", pa.list_(pa.float64())),
    ]
)
COUNTERPARTS_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("best", pa.int32()),
        ("best_cosine", pa.float32()),
        ("best_together", pa.int64()),
        ("others", pa.list_(pa.int32())),
        ("cosines", pa.list_(pa.float32())),
        ("n_together", pa.list_(pa.int64())),
    ]
)


def part_file(part: int) -> str:
    """The name, within the index, of a part of the activations."""
    return f"activations/{part:04d}.parquet"


def sql_source(path: Path) -> str:
    """A Parquet file as an SQL table; a folder named 'a[b]' would otherwise be a glob pattern, and match 'ab'."""
    escaped = "".join(f"[{character}]" if character in "*?[" else character for character in str(path))
    return f"read_parquet({_sql_text(escaped)})"


def sql_target(path: Path) -> str:
    """A path as the target of COPY, which is taken as it is."""
    return _sql_text(str(path))


def _sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def write_index_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Record ``content`` and the bytes of every file of ``folder`` in its index.json."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size}
        for file in sorted(folder.rglob("*.*"))
        if file.is_file()
    }
    write_json(folder / INDEX_FILE, {"format": FORMAT, "format_version": FORMAT_VERSION, **content, "files": files})


def read_index_file(folder: Path) -> dict[str, Any]:
    """Read index.json and see that every file it names is there in full.

    Raises DamagedError when a file is missing or of another size than was written, FormatError when the folder is
    not an index or one of another version.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise DamagedError(f"{folder} holds no feature index ({INDEX_FILE} is missing): build it first")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise FormatError(f'{path} does not describe a feature index: expected "format": "{FORMAT}"')
    if content.get("format_version") != FORMAT_VERSION:
        raise FormatError(
            f"{path} is of format version {content.get('format_version')}, and this version of Semascope reads version "
            f"{FORMAT_VERSION}: build the index again"
        )
    files = content.get("files")
    if not isinstance(files, dict):
        raise DamagedError(f"{path} does not list the files of the index: build the index again")
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise DamagedError(f"{file} is missing: build the index again")
        if file.stat().st_size != expected["bytes"]:
            raise DamagedError(
                f"{file} has {file.stat().st_size:,} bytes where {expected['bytes']:,} were written: it is truncated "
                "or was changed; restore it, or build the index again"
            )
    return content
