"""Checkpoints from which a training goes on bit for bit.

checkpoints/step-00000480/
  state.json                 step, settings of each dictionary, the stream's cursor
  stream.safetensors         mixing buffer, random state
  NAME/weights.safetensors   a dictionary's parameters and buffers
  NAME/progress.safetensors  Adam's moments, the firing record

Where several processes have the features, each writes its own: NAME/weights-00000-of-00003.safetensors and so on, with
what belongs to no feature in the first, and state.json says which features are where. Any number of processes reads
them: each takes the rows that it needs from whichever files have them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.errors import DamagedError, MismatchError, UnavailableError
from semascope.files import folder_written_atomically, read_json, read_tensors, write_json, write_tensors
from semascope.sae import by_feature
from semascope.team import ALONE, Team, part_of

LEAST_SECONDS_BETWEEN = 20.0
# A checkpoint that took long to write comes less often: at most a twentieth of the time goes into writing.
SHARE_OF_TIME = 1 / 20


@dataclass(frozen=True)
class Checkpoint:
    """Everything that decides how a training goes on.

    ``step``: how many optimizer steps are done. ``configs``: the settings of each dictionary, by its name, ``weights``
    and ``progress`` the tensors, of the features that this process has.
    """

    step: int
    configs: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Mapping[str, Tensor]]
    stream: Mapping[str, Tensor]
    stream_values: Mapping[str, Any]


class Checkpoints:
    """A folder of checkpoints, of which the latest is kept. All processes of a ``team`` share it, and save together."""

    def __init__(self, folder: Path, team: Team = ALONE) -> None:
        self._folder, self._team = folder, team
        self._last_saved = time.monotonic()
        self._pause = LEAST_SECONDS_BETWEEN
        self.last_step = 0

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self._team.agree(time.monotonic() - self._last_saved >= self._pause)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete the ones before it."""
        started = time.monotonic()
        path, team = self._folder / f"step-{checkpoint.step:08d}", self._team
        features = {name: int(config["features"]) for name, config in checkpoint.configs.items()}
        with folder_written_atomically(path) if team.first else nullcontext(path) as temporary:
            temporary = Path(team.agree(str(temporary)))
            if not temporary.is_dir():
                raise UnavailableError(
                    f"process {team.rank} does not see {temporary}, where the first one writes a checkpoint: "
                    "choose a folder on a disk that all machines share"
                )
            if team.row_part == 0:
                parts = {"weights": checkpoint.weights, "progress": checkpoint.progress}
                for name, (kind, tensors) in product(features, parts.items()):
                    own = {key: t for key, t in tensors[name].items() if team.feature_part == 0 or _by_feature(key)}
                    write_tensors(temporary / name / _file(kind, team.feature_part, team.feature_parts), own)
            if team.first:
                write_tensors(temporary / "stream.safetensors", checkpoint.stream)
                write_json(
                    temporary / "state.json",
                    {
                        "step": checkpoint.step,
                        "configs": dict(checkpoint.configs),
                        "stream": dict(checkpoint.stream_values),
                        "features": {
                            name: [part_of(count, part, team.feature_parts) for part in range(team.feature_parts)]
                            for name, count in features.items()
                        },
                    },
                )
            team.wait()  # The folder gets its name when everybody's files are in it.
        for old in self._paths() if team.first else []:
            if old != path:
                shutil.rmtree(old)
        self.last_step = checkpoint.step
        self._last_saved = time.monotonic()
        self._pause = max(LEAST_SECONDS_BETWEEN, (self._last_saved - started) / SHARE_OF_TIME)

    def latest(self, configs: Mapping[str, Any]) -> Checkpoint | None:
        """Read the latest checkpoint, if there is one, for dictionaries of these settings: this process's features.

        Raises DamagedError when it is incomplete, MismatchError when it belongs to a training with other settings.
        """
        paths = self._paths()
        latest = self._team.agree(paths[-1].name if paths else None)
        if latest is None:
            return None
        path = self._folder / latest
        state_file = path / "state.json"
        if not state_file.is_file():
            raise DamagedError(f"{path} is half-written (it holds no state.json): delete it and train again")
        state = read_json(state_file)
        if missing := {"step", "configs", "stream"} - state.keys():
            raise DamagedError(f"{state_file} lacks {', '.join(sorted(missing))}: delete {path} and train again")
        if changed := sorted(_differences(state["configs"], configs)):
            raise MismatchError(
                f"{path} belongs to a training with other settings ({', '.join(changed)}): "
                "give the same settings, or choose another folder for the run"
            )
        counts = {name: int(config["features"]) for name, config in configs.items()}
        held = {name: self._team.held(count) for name, count in counts.items()}
        parts = {name: state.get("features", {}).get(name, [(0, count)]) for name, count in counts.items()}
        self.last_step = int(state["step"])
        return Checkpoint(
            step=self.last_step,
            configs=state["configs"],
            weights={name: _read(path / name, "weights", parts[name], held[name]) for name in configs},
            progress={name: _read(path / name, "progress", parts[name], held[name]) for name in configs},
            stream=read_tensors(path / "stream.safetensors"),
            stream_values=state["stream"],
        )

    def weights(self, name: str) -> Mapping[str, Tensor]:
        """Those of a whole dictionary in the latest checkpoint."""
        path = self._paths()[-1]
        state = read_json(path / "state.json")
        return _read(path / name, "weights", state["features"][name], (0, int(state["configs"][name]["features"])))

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _file(kind: str, part: int, parts: int) -> str:
    return f"{kind}.safetensors" if parts == 1 else f"{kind}-{part:05d}-of-{parts:05d}.safetensors"


def _by_feature(key: str) -> bool:
    """Whether a tensor of weights or progress has a row for each feature."""
    return key == "last_fired" or by_feature(key.partition("/")[0])


def _read(folder: Path, kind: str, parts: list[tuple[int, int]], held: tuple[int, int]) -> dict[str, Tensor]:
    """The rows of the features ``held`` from the files that have them, and what belongs to no feature."""
    found: list[dict[str, Tensor]] = []
    for number, (first, last) in enumerate(parts):
        rows = slice(min(max(held[0], first), last) - first, max(min(held[1], last), first) - first)
        if number == 0 or rows.start < rows.stop:
            file = folder / _file(kind, number, len(parts))
            found.append(read_tensors(file, lambda key, rows=rows: rows if _by_feature(key) else None))
    return {
        key: torch.cat([tensors[key] for tensors in found]) if _by_feature(key) else tensor
        for key, tensor in found[0].items()
    }


def _differences(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> set[str]:
    """The dictionaries that are asked for and not kept, or else the settings in which they differ.

    A checkpoint may hold more: dictionaries that were saved since.
    """
    if missing := asked.keys() - kept.keys():
        return missing
    return {k for name in asked for k in {*kept[name], *asked[name]} if kept[name].get(k) != asked[name].get(k)}
