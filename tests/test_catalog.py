"""What people add to a run: kept, searched, shared between processes, and safe from being killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semascope.catalog import Catalog, Entry
from semascope.errors import DamagedError, FormatError, InputError, UnavailableError

# Labels feature after feature, and says so when each is on disk.
WRITER = """
import sys
from pathlib import Path
from semascope.catalog import Catalog
with Catalog(Path(sys.argv[1])) as catalog:
    for feature in range(int(sys.argv[2]), int(sys.argv[3])):
        catalog.write(feature, "label", f"Label of {feature}")
        catalog.write(feature, "note", f"Note on {feature}")
        print(feature, flush=True)
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog.sqlite") as opened:
        yield opened


def test_what_is_written_is_there_when_the_file_is_opened_again(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.entry(3) == Entry()
    assert not (tmp_path / "catalog.sqlite").exists()  # reading leaves nothing behind
    catalog.write(3, "label", "  Paris ")
    catalog.write(3, "label", "Cities", source="a model")
    catalog.write(3, "note", "seen <b>often</b>")
    catalog.star(3)
    catalog.add_list("for the talk")
    catalog.list_feature("for the talk", 3)
    catalog.close()
    with Catalog(tmp_path / "catalog.sqlite") as again:
        entry = again.entries([3, 4])[3]
        assert entry.label
        assert (entry.label.text, entry.label.source) == ("Cities", "a model")
        assert entry.note
        assert (entry.note.text, entry.note.source) == ("seen <b>often</b>", "person")
        assert (entry.starred, entry.lists) == (True, ("for the talk",))
        assert again.entry(4) == Entry()
        assert (again.labelled(), again.starred(), again.on_list("for the talk")) == ([3], [3], [3])


def test_what_was_added_can_be_removed(catalog: Catalog) -> None:
    catalog.write(1, "label", "Rivers")
    catalog.star(1)
    catalog.add_list("a")
    catalog.list_feature("a", 1)
    catalog.list_feature("a", 2)
    catalog.list_feature("a", 2, listed=False)
    assert catalog.on_list("a") == [1]
    catalog.erase(1, "label")
    catalog.star(1, starred=False)
    catalog.remove_list("a")
    assert catalog.entry(1) == Entry()
    assert (catalog.search("rivers"), catalog.lists(), catalog.on_list("a")) == ([], [], [])


def test_a_search_finds_beginnings_of_words_in_labels_first(catalog: Catalog) -> None:
    catalog.write(1, "note", "Something like cafés in Paris")
    catalog.write(2, "label", "Cafés of Vienna")
    catalog.write(3, "label", "Decaf")
    catalog.write(4, "label", "日本語")
    assert catalog.search("CAFE") == [2, 1]
    assert catalog.search("caf vien") == [2]
    assert catalog.search("日本") == [4]
    assert catalog.search("paris") == [1]
    catalog.write(2, "label", "Music")
    assert catalog.search("cafe") == [1]


@pytest.mark.parametrize("text", ['"', "a OR b", "NEAR(a b)", "text:a", "*", "a* -b", "(", "\0", "'; DROP TABLE texts"])
def test_a_search_for_signs_of_the_query_language_is_a_search_for_words(catalog: Catalog, text: str) -> None:
    catalog.write(1, "label", "alpha")
    assert catalog.search(text) in ([], [1])
    assert catalog.labelled() == [1]


def test_empty_texts_and_unknown_lists_are_refused(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="empty"):
        catalog.write(1, "label", " \n")
    with pytest.raises(InputError, match="empty"):
        catalog.add_list("  ")
    with pytest.raises(InputError, match="no list 'x'"):
        catalog.list_feature("x", 1)


def test_threads_write_at_once(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda feature: catalog.write(feature, "label", f"Label {feature}"), range(100)))
    assert catalog.labelled() == list(range(100))


def start_writer(file: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(first), str(last)], stdout=subprocess.PIPE, text=True
    )


def test_processes_write_at_once(catalog: Catalog, tmp_path: Path) -> None:
    writers = [start_writer(tmp_path / "catalog.sqlite", first, first + 30) for first in (0, 100)]
    for feature in range(200, 230):
        catalog.write(feature, "label", f"Label of {feature}")
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert catalog.labelled() == [*range(30), *range(100, 130), *range(200, 230)]
    assert catalog.search("note") == [*range(30), *range(100, 130)]


def test_a_process_that_is_killed_while_it_writes_loses_nothing_that_it_reported(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    reported = -1
    for _ in range(3):
        writer = start_writer(file, reported + 1, 1_000_000)
        assert writer.stdout
        for line in writer.stdout:
            reported = int(line)
            if reported % 20 == 19:
                break
        os.kill(writer.pid, signal.SIGKILL)
        reported = max([reported, *map(int, writer.communicate()[0].split())])
    with Catalog(file) as catalog:
        labelled = catalog.labelled()
        assert set(range(reported + 1)) <= set(labelled)
        # The search agrees with what is there: a label and its words are written together or not at all.
        assert sorted(catalog.search("label")) == labelled
        catalog.write(0, "label", "It can be written again")
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    with Catalog(file) as catalog:
        for feature in range(300):
            catalog.write(feature, "label", f"A label that takes some room, of feature {feature}")
    whole = file.read_bytes()
    file.write_bytes(b"This is no database, and never was one. " * 200)
    with Catalog(file) as catalog, pytest.raises(DamagedError, match=r"catalog\.sqlite is damaged"):
        catalog.labelled()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with Catalog(file) as catalog, pytest.raises(DamagedError, match="move it away"):
        catalog.labelled()


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE other (x)")
    with Catalog(file) as catalog, pytest.raises(FormatError, match="no catalog of Semascope"):
        catalog.write(1, "label", "x")
    file.unlink()
    with Catalog(file) as catalog:
        catalog.star(1)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 9")
    with Catalog(file) as catalog, pytest.raises(FormatError, match="version 9"):
        catalog.starred()


def test_a_file_that_another_process_holds_is_waited_for_and_named(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.star(1)
    monkeypatch.setattr("semascope.catalog.schema._BUSY_SECONDS", 0.05)
    with sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with Catalog(tmp_path / "catalog.sqlite") as other:
            assert other.starred() == [1]  # reading needs no lock
            with pytest.raises(UnavailableError, match="another process"):
                other.star(2)
        holder.execute("ROLLBACK")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with Catalog(tmp_path / "gone" / "catalog.sqlite") as catalog, pytest.raises(UnavailableError, match="gone"):
        catalog.star(1)
