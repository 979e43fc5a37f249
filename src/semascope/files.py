"""Writing to disk so that nothing is ever half there: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from semascope.errors import DamagedError, UnavailableError


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_is_named(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(
                f"no space is left on the disk while writing {path}: free some space, or choose another folder, "
                "and run the same command again; what was there before is unchanged"
            ) from error
        raise


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    Raises UnavailableError when the disk is full; ``path`` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _full_disk_is_named(path):
            # Some writers make files that only their owner may read; a run is for everybody whom the umask admits.
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_atomically(path: Path) -> Generator[Path]:
    """Yield a temporary folder that takes the place of ``path`` when the block ends without an error.

    Raises UnavailableError when the disk is full; ``path`` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _full_disk_is_named(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            _sync(temporary)
            if path.exists():
                retired = path.with_name(f".{path.name}.{os.getpid()}.old")
                path.replace(retired)
                temporary.replace(path)
                shutil.rmtree(retired)
            else:
                temporary.replace(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


LOCK_FILE = ".lock"


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Keep other processes from working in a folder meanwhile; the system lets go when this process ends, however.

    Raises UnavailableError where another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except Timeout as error:
        raise UnavailableError(
            f"another process is at work in {folder}: wait until it has ended, or choose another folder"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises DamagedError when the file is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} is not readable JSON ({error}): restore it, or delete it and run again") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path} holds a JSON {type(content).__name__} where an object was expected")
    return content  # pyright: ignore[reportReturnType]  # JSON objects have string keys


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary))


def read_tensors(path: Path, rows: Callable[[str], slice | None] | None = None) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file. Raises DamagedError when it is truncated or of another format.

    ``rows``: which rows of a tensor to read, by its name; None for all of them.
    """
    try:
        if rows is None:
            return load_file(path)
        with safe_open(path, framework="pt") as file:
            parts = {name: rows(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            return {
                name: file.get_tensor(name) if part is None else file.get_slice(name)[part]
                for name, part in parts.items()
            }
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing: its folder is incomplete") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(f"{path} is damaged or no safetensors file ({error}): delete it and run again") from error


def read_rows(path: Path, name: str, rows: Sequence[int]) -> Tensor:
    """Some rows of a tensor in a safetensors file, in the order asked for, without reading the others.

    Raises DamagedError when the file is missing, truncated, of another format or without such rows.
    """
    try:
        with safe_open(path, framework="pt") as file:
            part = file.get_slice(name)
            if not all(0 <= row < part.get_shape()[0] for row in rows):
                raise ValueError(f"it has {part.get_shape()[0]:,}")
            return torch.cat([part[row : row + 1] for row in rows])
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DamagedError(f"{path} holds no readable rows of {name} ({error}): delete it and run again") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where fetched packages and converted models are kept: ``$SEMASCOPE_CACHE``, else the user's cache."""
    if chosen := os.environ.get("SEMASCOPE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semascope"
