"""What is known about steering with the features of a run, kept in its folder.

steering/
  scores.safetensors     input and output score of every feature; not a number where not measured yet
  calibration/123.json   effect and damage of feature 123 by strength
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.errors import DamagedError
from semascope.files import read_json, read_tensors, write_json, write_tensors
from semascope.steering.calibration import Calibration

_NAMES = ("input_F", "output_F")


class SavedSteering:
    """The folder ``steering`` of a run whose dictionary has so many features; what is added is there at once, whole."""

    def __init__(self, folder: Path, n_features: int) -> None:
        self._folder, self._n_features = folder, n_features

    @property
    def scores_file(self) -> Path:
        """Where the scores are, once some were measured."""
        return self._folder / "scores.safetensors"

    def scores(self) -> tuple[Tensor, Tensor]:
        """Input and output scores, [F] each; not a number for features that were not scored."""
        file = self.scores_file
        if not file.exists():
            unknown_F = torch.full((self._n_features,), torch.nan)
            return unknown_F, unknown_F.clone()
        found = read_tensors(file)
        if any(name not in found or found[name].shape != (self._n_features,) for name in _NAMES):
            raise DamagedError(f"{file} does not hold scores of {self._n_features:,} features: delete it")
        return found["input_F"], found["output_F"]

    def add_scores(self, scores: Iterable[tuple[int, float, float]]) -> None:
        """Keep features' input and output scores, beside those of other features."""
        input_F, output_F = self.scores()
        for feature, input_score, output_score in scores:
            input_F[feature], output_F[feature] = input_score, output_score
        write_tensors(self.scores_file, {"input_F": input_F, "output_F": output_F})

    def calibration(self, feature: int) -> dict[str, Any] | None:
        """What was measured of a feature, as `Calibration` has it; None if nothing was."""
        file = self._file(feature)
        return read_json(file) if file.exists() else None

    def calibrated(self) -> list[int]:
        """The features of which something was measured."""
        return sorted(int(file.stem) for file in (self._folder / "calibration").glob("*.json"))

    def add_calibration(self, calibration: Calibration) -> None:
        """Keep what was measured of a feature, in place of what was measured before."""
        write_json(self._file(calibration.feature), calibration.as_json())

    def _file(self, feature: int) -> Path:
        return self._folder / "calibration" / f"{feature}.json"
