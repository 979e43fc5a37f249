"""Checkpoints from which a training goes on bit for bit.

checkpoints/step-00000480/
  state.json                 step, settings of each dictionary, the stream's cursor
  stream.safetensors         mixing buffer, random state
  NAME/weights.safetensors   a dictionary's parameters and buffers
  NAME/progress.safetensors  Adam's moments, the firing record
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from semascope.errors import DamagedError, MismatchError
from semascope.files import folder_written_atomically, read_json, read_tensors, write_json, write_tensors

LEAST_SECONDS_BETWEEN = 20.0
# A checkpoint that took long to write comes less often: at most a twentieth of the time goes into writing.
SHARE_OF_TIME = 1 / 20


@dataclass(frozen=True)
class Checkpoint:
    """Everything that decides how a training goes on.

    ``step``: how many optimizer steps are done. ``configs``: the settings of each dictionary, by its name, ``weights``
    and ``progress`` the tensors.
    """

    step: int
    configs: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Mapping[str, Tensor]]
    stream: Mapping[str, Tensor]
    stream_values: Mapping[str, Any]


class Checkpoints:
    """A folder of checkpoints, of which the latest is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last_saved = time.monotonic()
        self._pause = LEAST_SECONDS_BETWEEN

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last_saved >= self._pause

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete the ones before it."""
        started = time.monotonic()
        path = self._folder / f"step-{checkpoint.step:08d}"
        with folder_written_atomically(path) as temporary:
            write_tensors(temporary / "stream.safetensors", checkpoint.stream)
            for name in checkpoint.configs:
                write_tensors(temporary / name / "weights.safetensors", checkpoint.weights[name])
                write_tensors(temporary / name / "progress.safetensors", checkpoint.progress[name])
            write_json(
                temporary / "state.json",
                {
                    "step": checkpoint.step,
                    "configs": dict(checkpoint.configs),
                    "stream": dict(checkpoint.stream_values),
                },
            )
        for old in self._paths():
            if old != path:
                shutil.rmtree(old)
        self._last_saved = time.monotonic()
        self._pause = max(LEAST_SECONDS_BETWEEN, (self._last_saved - started) / SHARE_OF_TIME)

    def latest(self, configs: Mapping[str, Any]) -> Checkpoint | None:
        """Read the latest checkpoint, if there is one, for dictionaries of these settings.

        Raises DamagedError when it is incomplete, MismatchError when it belongs to a training with other settings.
        """
        paths = self._paths()
        if not paths:
            return None
        path = paths[-1]
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
        return Checkpoint(
            step=int(state["step"]),
            configs=state["configs"],
            weights={name: read_tensors(path / name / "weights.safetensors") for name in configs},
            progress={name: read_tensors(path / name / "progress.safetensors") for name in configs},
            stream=read_tensors(path / "stream.safetensors"),
            stream_values=state["stream"],
        )

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _differences(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> set[str]:
    """The dictionaries that are asked for and not kept, or else the settings in which they differ.

    A checkpoint may hold more: dictionaries that were saved since.
    """
    if missing := asked.keys() - kept.keys():
        return missing
    return {k for name in asked for k in {*kept[name], *asked[name]} if kept[name].get(k) != asked[name].get(k)}
