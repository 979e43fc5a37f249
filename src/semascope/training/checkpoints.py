"""Checkpoints from which a training goes on bit for bit.

checkpoints/step-00000480/
  state.json            step, settings, the stream's cursor
  weights.safetensors   parameters and buffers
  optimizer.safetensors Adam's moments
  stream.safetensors    firing record, mixing buffer, random state
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
    """Everything that decides how a training goes on. ``step``: how many optimizer steps are done."""

    step: int
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
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
            write_tensors(temporary / "weights.safetensors", checkpoint.weights)
            write_tensors(temporary / "optimizer.safetensors", checkpoint.optimizer)
            write_tensors(temporary / "stream.safetensors", checkpoint.stream)
            write_json(
                temporary / "state.json",
                {
                    "step": checkpoint.step,
                    "config": dict(checkpoint.config),
                    "stream": dict(checkpoint.stream_values),
                },
            )
        for old in self._paths():
            if old != path:
                shutil.rmtree(old)
        self._last_saved = time.monotonic()
        self._pause = max(LEAST_SECONDS_BETWEEN, (self._last_saved - started) / SHARE_OF_TIME)

    def latest(self, config: Mapping[str, Any]) -> Checkpoint | None:
        """Read the latest checkpoint, if there is one.

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
        if missing := {"step", "config", "stream"} - state.keys():
            raise DamagedError(f"{state_file} lacks {', '.join(sorted(missing))}: delete {path} and train again")
        if state["config"] != dict(config):
            changed = sorted(k for k in {*state["config"], *config} if state["config"].get(k) != config.get(k))
            raise MismatchError(
                f"{path} belongs to a training with other settings ({', '.join(changed)}): "
                "give the same settings, or choose another folder for the run"
            )
        return Checkpoint(
            step=int(state["step"]),
            config=state["config"],
            weights=read_tensors(path / "weights.safetensors"),
            optimizer=read_tensors(path / "optimizer.safetensors"),
            stream=read_tensors(path / "stream.safetensors"),
            stream_values=state["stream"],
        )

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
