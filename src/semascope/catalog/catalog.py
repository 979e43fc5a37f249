"""The catalog of a run: labels with where they came from, notes, stars and lists."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from semascope.catalog.entries import BY_HAND, Entry, FeatureList, Written
from semascope.catalog.schema import connect
from semascope.errors import DamagedError, InputError, UnavailableError

Kind = Literal["label", "note"]

_SET_TEXT = """
INSERT INTO texts (feature, kind, text, source, changed) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (feature, kind) DO UPDATE SET text = excluded.text, source = excluded.source, changed = excluded.changed
"""
_SEARCH = """
SELECT feature FROM words JOIN texts ON texts.id = words.rowid WHERE words MATCH ?
GROUP BY feature ORDER BY min(kind), min(rank), feature
"""


class Catalog:
    """What people added to the features of a run; safe to use from several threads, and by several processes at once.

    The file appears with the first thing that is added. Every method raises DamagedError when the file is damaged,
    FormatError when it is none of ours, and UnavailableError when it cannot be written: the disk is full, the folder
    is not ours, or another process has held it for ten seconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def entries(self, features: Iterable[int]) -> dict[int, Entry]:
        """What was added to some features, for each of them."""
        ids = json.dumps(list(features))
        among = "feature IN (SELECT value FROM json_each(?))"
        texts = self._rows(f"SELECT feature, kind, text, source, changed FROM texts WHERE {among}", ids)
        stars = {row[0] for row in self._rows(f"SELECT feature FROM stars WHERE {among}", ids)}
        lists: dict[int, list[str]] = {}
        for feature, name in self._rows(f"SELECT feature, list FROM listed WHERE {among} ORDER BY list", ids):
            lists.setdefault(feature, []).append(name)
        written = {(feature, kind): Written(*rest) for feature, kind, *rest in texts}
        return {
            feature: Entry(
                label=written.get((feature, "label")),
                note=written.get((feature, "note")),
                starred=feature in stars,
                lists=tuple(lists.get(feature, ())),
            )
            for feature in json.loads(ids)
        }

    def entry(self, feature: int) -> Entry:
        """What was added to one feature."""
        return self.entries([feature])[feature]

    def write(self, feature: int, kind: Kind, text: str, *, source: str = BY_HAND) -> None:
        """Label a feature or note something about it, in place of what was there. Raises InputError for no text."""
        if not text.strip():
            raise InputError(f"the {kind} of feature {feature} is empty: write something, or remove it")
        with self._writing() as connection:
            connection.execute(_SET_TEXT, (feature, kind, text.strip(), source, _now()))

    def erase(self, feature: int, kind: Kind) -> None:
        """Remove a feature's label or note, if it has one."""
        with self._writing() as connection:
            connection.execute("DELETE FROM texts WHERE feature = ? AND kind = ?", (feature, kind))

    def star(self, feature: int, starred: bool = True) -> None:
        """Give a feature a star, or take it away."""
        with self._writing() as connection:
            if starred:
                connection.execute("INSERT OR IGNORE INTO stars VALUES (?, ?)", (feature, _now()))
            else:
                connection.execute("DELETE FROM stars WHERE feature = ?", (feature,))

    def lists(self) -> list[FeatureList]:
        """Every list, by name."""
        sql = "SELECT name, (SELECT count(*) FROM listed WHERE list = name), created FROM lists ORDER BY name"
        return [FeatureList(*row) for row in self._rows(sql)]

    def has_list(self, name: str) -> bool:
        """Whether there is a list of this name."""
        return bool(self._rows("SELECT 1 FROM lists WHERE name = ?", name))

    def add_list(self, name: str) -> None:
        """Begin a list, if there is none of this name. Raises InputError for a name without a letter."""
        if not name.strip():
            raise InputError("the name of a list is empty: give it one")
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO lists VALUES (?, ?)", (name, _now()))

    def remove_list(self, name: str) -> None:
        """Remove a list, if it is there; its features stay as they are."""
        with self._writing() as connection:
            connection.execute("DELETE FROM lists WHERE name = ?", (name,))

    def list_feature(self, name: str, feature: int, listed: bool = True) -> None:
        """Put a feature on a list, or take it off. Raises InputError when there is no such list."""
        with self._writing() as connection:
            if not connection.execute("SELECT 1 FROM lists WHERE name = ?", (name,)).fetchone():
                raise InputError(f"there is no list '{name}': begin it first")
            if listed:
                connection.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, ?)", (name, feature, _now()))
            else:
                connection.execute("DELETE FROM listed WHERE list = ? AND feature = ?", (name, feature))

    def labelled(self) -> list[int]:
        """The features that have a label, by id."""
        return self._features("SELECT feature FROM texts WHERE kind = 'label' ORDER BY feature")

    def starred(self) -> list[int]:
        """The features that have a star, by id."""
        return self._features("SELECT feature FROM stars ORDER BY feature")

    def on_list(self, name: str) -> list[int]:
        """The features on a list, by id; none when there is no such list."""
        return self._features("SELECT feature FROM listed WHERE list = ? ORDER BY feature", name)

    def search(self, text: str) -> list[int]:
        """The features whose label or note has words that begin with each word of ``text``: labels first, best first.

        Case and accents do not matter; a text without a letter or digit finds nothing.
        """
        words = _words(text)
        if not words:
            return []
        return self._features(_SEARCH, " ".join(f'"{word}"*' for word in words))

    def _features(self, sql: str, *parameters: Any) -> list[int]:
        return [feature for (feature,) in self._rows(sql, *parameters)]

    def _rows(self, sql: str, *parameters: Any) -> Sequence[tuple[Any, ...]]:
        with self._lock, self._errors_for_people():
            if self._connection is None:
                if not self._path.exists():
                    return []
                self._connection = connect(self._path)
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._errors_for_people():
            connection = self._connection = self._connection or connect(self._path)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors_for_people(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            match error.sqlite_errorname.split("_")[1] if hasattr(error, "sqlite_errorname") else "":
                case "BUSY" | "LOCKED":
                    raise UnavailableError(
                        f"another process is writing {self._path} and did not let go of it: try again"
                    ) from error
                case "FULL" | "READONLY" | "CANTOPEN" | "IOERR" | "PERM":
                    raise UnavailableError(
                        f"{self._path} cannot be written ({error}): see that the disk has space and that the folder "
                        "is yours; what was there before is unchanged"
                    ) from error
                case "CORRUPT" | "NOTADB":
                    raise DamagedError(
                        f"{self._path} is damaged ({error}): restore it from a copy, or move it away to begin a new "
                        "catalog; the run itself is not concerned"
                    ) from error
                case _:
                    raise


def _words(text: str) -> list[str]:
    """The parts of a text that are made of letters and digits, as the search splits them."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(character if character.isalnum() else " " for character in composed).split()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
