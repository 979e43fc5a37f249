"""Files: whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semascope.errors import DamagedError, UnavailableError
from semascope.files import (
    alone_in,
    cache_folder,
    folder_written_atomically,
    read_json,
    read_tensors,
    sha256,
    write_atomically,
    write_json,
    write_tensors,
)


def test_a_failed_write_leaves_what_was_there_and_no_rubbish(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("before")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(file, fail)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UnavailableError, match=r"no space is left on the disk while writing .*a\.txt"):
        write_atomically(tmp_path / "a.txt", fail)


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with folder_written_atomically(folder) as temporary:
        (temporary / "old").write_text("1")
        assert not folder.exists()

    def half_written() -> None:
        with folder_written_atomically(folder) as temporary:
            (temporary / "new").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_written()
    assert [path.name for path in folder.iterdir()] == ["old"]
    with folder_written_atomically(folder) as temporary:
        (temporary / "new").write_text("2")
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_tensors_come_back_and_may_be_read_by_whom_the_umask_admits(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    read = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    (tmp_path / "plain").touch()
    assert (tmp_path / "t.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"not a tensor file at all, but quite long"])
def test_damaged_tensor_files_are_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=r"weights\.safetensors is damaged"):
        read_tensors(file)
    with pytest.raises(DamagedError, match=r"missing\.safetensors is missing"):
        read_tensors(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("text", ['{"a": 1', "[1, 2]", "\ufeff"])
def test_damaged_json_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DamagedError, match=r"run\.json"):
        read_json(file)
    write_json(file, {"word": "é"})
    assert read_json(file) == {"word": "é"}
    assert "é" in file.read_text(encoding="utf-8")


HOLDING = """
import sys, time
from pathlib import Path
from semascope.files import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_for_one_process_at_a_time_and_free_again_however_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UnavailableError, match=r"another process is at work in .*run"), alone_in(folder):
            pass
        other.kill()
        other.wait()
        with alone_in(folder):
            pass


def test_checksums_and_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    monkeypatch.setenv("SEMASCOPE_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("SEMASCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "semascope"
    assert os.environ.get("SEMASCOPE_CACHE") is None
