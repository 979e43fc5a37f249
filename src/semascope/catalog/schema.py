"""The tables of a catalog, and opening its file.

The file is written in place, by several processes at once: SQLite's write-ahead log makes each change whole or not
there, also when a process is killed in the middle of it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from semascope.errors import FormatError

_APPLICATION = 0x73656D61  # "sema"
_VERSION = 1
_BUSY_SECONDS = 10

# Words are found whatever their case and accents, and by their beginnings while somebody types.
_TABLES = """
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    feature INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('label', 'note')),
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    changed TEXT NOT NULL,
    UNIQUE (feature, kind)
);
CREATE VIRTUAL TABLE words USING fts5(
    text, content='texts', content_rowid='id', tokenize='unicode61 remove_diacritics 2', prefix='1 2 3'
);
CREATE TRIGGER text_added AFTER INSERT ON texts BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER text_removed AFTER DELETE ON texts BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER text_changed AFTER UPDATE ON texts BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TABLE stars (feature INTEGER PRIMARY KEY, changed TEXT NOT NULL);
CREATE TABLE lists (name TEXT PRIMARY KEY, created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE listed (
    list TEXT NOT NULL REFERENCES lists (name) ON DELETE CASCADE,
    feature INTEGER NOT NULL,
    added TEXT NOT NULL,
    PRIMARY KEY (list, feature)
) WITHOUT ROWID;
CREATE INDEX listed_by_feature ON listed (feature);
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the catalog at ``path`` for several threads, and make it if nothing is there.

    Raises FormatError when the file is some other database or of another version, sqlite3.Error when it is none.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if _number(connection, "application_id") == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            _make(connection, path)
        if _number(connection, "application_id") != _APPLICATION:
            raise FormatError(f"{path} is a database, but no catalog of Semascope: move it to another place")
        if (version := _number(connection, "user_version")) != _VERSION:
            raise FormatError(
                f"{path} is a catalog of version {version}, and this version of Semascope reads version {_VERSION}: "
                "open it with the newer one that wrote it"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made it meanwhile.
        if _number(connection, "application_id") == 0:
            if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                raise FormatError(f"{path} is a database, but no catalog of Semascope: move it to another place")
            for statement in _statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements() -> list[str]:
    """One by one, since `executescript` would commit what is under way."""
    statements: list[str] = []
    for line in _TABLES.splitlines(keepends=True):
        if not statements or sqlite3.complete_statement(statements[-1]):
            statements.append("")
        statements[-1] += line
    return [statement for statement in statements if statement.strip()]


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]
