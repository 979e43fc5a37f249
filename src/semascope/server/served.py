"""The runs that a server shows: opened once, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semascope.catalog import Catalog
from semascope.features import FeatureIndex, FeatureMap
from semascope.runs import RunFolder


class ServedRun:
    """A run with its index, which must be there, and its catalog. Raises DamagedError when the index is not.

    ``version`` changes when the index is built again, or another version of Semascope reads it.
    """

    def __init__(self, name: str, run: RunFolder) -> None:
        self.name, self.run = name, run
        self.index: FeatureIndex = run.features
        self.catalog = Catalog.of_run(run.folder)
        self._map: tuple[int, FeatureMap] | None = None
        self.version = _index_version(run.folder / "features" / "index.json")

    @cached_property
    def suites(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The concepts that were scored when this was first asked, by the name of their suite."""
        return {name: result["concepts"] for name, result in results_of_suites(self.run).items()}

    @cached_property
    def concepts(self) -> Mapping[int, Sequence[str]]:
        """The concepts that each feature tells best, by feature."""
        found: dict[int, list[str]] = {}
        for scores in self.suites.values():
            for score in scores:
                named = found.setdefault(score["feature"], [])
                if score["concept"] not in named:
                    named.append(score["concept"])
        return found

    @property
    def map(self) -> FeatureMap | None:
        """The map of its features, read again only when another was made; None where there is none."""
        if not FeatureMap.exists(self.index):
            return None
        made_at = FeatureMap.made_at(self.index)
        if self._map is None or self._map[0] != made_at:
            self._map = made_at, FeatureMap.read(self.index)
        return self._map[1]

    def close(self) -> None:
        """Let go of its files."""
        self.index.close()
        self.catalog.close()


class Served:
    """Runs by name: that of the folder, with a number where several have the same."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._runs: dict[str, ServedRun] = {}
        for folder in folders:
            base = folder.resolve().name
            name, number = base, 1
            while name in self._runs:
                number += 1
                name = f"{base}-{number}"
            self._runs[name] = ServedRun(name, RunFolder.open(folder))

    def __iter__(self) -> Iterator[ServedRun]:
        return iter(self._runs.values())

    def get(self, name: str) -> ServedRun | None:
        """The run of this name, or None."""
        return self._runs.get(name)

    def close(self) -> None:
        """Let go of all files."""
        for run in self:
            run.close()


def results_of_suites(run: RunFolder) -> dict[str, dict[str, Any]]:
    """What was found of each suite of concepts, by its name, as the files in ``evaluation/`` have it now."""
    found = {"demo": run.result("concepts")}
    for file in sorted((run.folder / "evaluation").glob("concepts-*.json")):
        found[file.stem.removeprefix("concepts-")] = run.result(file.stem)
    return {name: result for name, result in found.items() if result and result["concepts"]}


def _index_version(file: Path) -> str:
    described = f"{version('semascope')} {file.stat().st_mtime_ns}".encode() + file.read_bytes()
    return hashlib.blake2b(described, digest_size=8).hexdigest()
