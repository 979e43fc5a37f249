import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from semascope import packages
from semascope.errors import DamagedError, UnavailableError
from semascope.files import sha256
from semascope.packages import Package, cached_path, fetch

CONTENT = b"the bytes of a wheel"


class FakePip:
    """Stands in for the pip process: leaves a file in the folder after ``--dest``, or fails."""

    def __init__(self, content: bytes | None = CONTENT, stderr: str = "") -> None:
        self.content, self.stderr = content, stderr
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> SimpleNamespace:
        self.commands.append(command)
        if self.content is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "some_data-1.2-py3-none-any.whl").write_bytes(self.content)
        return SimpleNamespace(returncode=0 if self.content is not None else 1, stderr=self.stderr)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.setenv("SEMASCOPE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "expected"
    file.write_bytes(CONTENT)
    return Package("some-data", "1.2", sha256(file))


def use(monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> FakePip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def left_in_cache() -> list[str]:
    return sorted(path.name for path in packages.cache_folder().rglob("*") if path.is_file())


def test_a_package_is_downloaded_once_without_its_dependencies(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = use(monkeypatch, FakePip())
    first, second = fetch(package), fetch(package)
    assert first == second == cached_path(package)
    assert first.read_bytes() == CONTENT
    assert len(pip.commands) == 1
    assert {"--no-deps", "--only-binary=:all:", "some-data==1.2"} <= set(pip.commands[0])
    assert left_in_cache() == ["some-data-1.2.whl"]


def test_of_a_package_with_several_wheels_the_pinned_one_is_asked_for(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = use(monkeypatch, FakePip())
    fetch(replace(package, tag="cp311-cp311-manylinux_2_28_x86_64"))
    asked = {"--implementation=cp", "--python-version=311", "--abi=cp311", "--platform=manylinux_2_28_x86_64"}
    assert asked <= set(pip.commands[0])


def test_a_download_with_another_checksum_is_not_kept(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePip(b"something else"))
    with pytest.raises(DamagedError, match=rf"some-data 1\.2 .*{package.sha256}"):
        fetch(package)
    assert left_in_cache() == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_path(package).parent.mkdir(parents=True)
    cached_path(package).write_bytes(CONTENT[:5])
    use(monkeypatch, FakePip())
    assert fetch(package).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_needs_no_pip(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_path(package).parent.mkdir(parents=True)
    cached_path(package).write_bytes(CONTENT)
    pip = use(monkeypatch, FakePip(None))
    assert fetch(package).read_bytes() == CONTENT
    assert pip.commands == []


def test_without_a_network_the_reason_of_pip_and_the_next_step_are_named(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakePip(None, "WARNING: Retrying\nERROR: No matching distribution found for some-data==1.2\n"))
    with pytest.raises(UnavailableError, match="No matching distribution found") as raised:
        fetch(package)
    assert str(cached_path(package)) in str(raised.value)
    assert "WARNING" not in str(raised.value)
    assert left_in_cache() == []


def test_without_pip_the_next_step_is_named(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match=r"has no pip: run .*ensurepip"):
        fetch(package)
