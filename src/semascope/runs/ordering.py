"""Features in the order of what steering told of them, beside the orders that the index knows.

F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semascope.features import Sort
from semascope.runs.folder import RunFolder
from semascope.steering import SavedSteering

ScoreSort = Literal["output-score", "-output-score", "input-score", "-input-score"]
FeatureSort = Literal[Sort, ScoreSort]


@dataclass(frozen=True)
class Scores:
    """Input and output scores of features, [F] each; not a number where they were not measured."""

    input_F: NDArray[np.float32]
    output_F: NDArray[np.float32]

    @classmethod
    def of(cls, run: RunFolder) -> Scores:
        """What `semascope calibrate RUN` measured; read again only when that changed."""
        file = run.saved_steering.scores_file
        return _read(file, file.stat().st_mtime_ns if file.exists() else 0, run.features.n_features)

    @property
    def measured(self) -> bool:
        """Whether any feature was scored."""
        return bool(np.isfinite(self.output_F).any())

    def order(self, sort: ScoreSort) -> NDArray[np.intp]:
        """The ids of all features in order, with a minus largest first; those without a score last."""
        return self._orders[sort]

    @cached_property
    def _orders(self) -> Mapping[str, NDArray[np.intp]]:
        columns = {"output-score": self.output_F, "input-score": self.input_F}
        return {
            f"{sign}{name}": np.argsort(np.nan_to_num(-key_F if sign else key_F, nan=np.inf), kind="stable")
            for name, key_F in columns.items()
            for sign in ("", "-")
        }


def ordered(run: RunFolder, sort: FeatureSort | None) -> Sort | NDArray[np.intp] | None:
    """An order as `FeatureIndex.select` takes it."""
    match sort:
        case "output-score" | "-output-score" | "input-score" | "-input-score":
            return Scores.of(run).order(sort)
        case _:
            return sort


@lru_cache(maxsize=8)
def _read(file: Path, changed: int, n_features: int) -> Scores:
    del changed  # it tells one content of the file from another
    input_F, output_F = SavedSteering(file.parent, n_features).scores()
    return Scores(input_F.numpy(), output_F.numpy())
