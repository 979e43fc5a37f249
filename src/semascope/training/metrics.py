"""What happened between two lines of ``metrics.jsonl``, gathered on the device and read once a line."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from semascope.files import write_atomically
from semascope.sae import Losses
from semascope.team import ALONE, Team


class Meter:
    """Sums over batches; explained variance is about the mean of the interval."""

    def __init__(self) -> None:
        self._tokens = 0
        self._batches = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, x_BD: Tensor, losses: Losses, gradient_norm: Tensor) -> None:
        """Take a batch into account. No host synchronisation."""
        self._tokens += len(x_BD)
        self._batches += 1
        self._sum("squared_error", losses.squared_error)
        self._sum("squares", torch.linalg.vector_norm(x_BD).square())
        self._sum("mean", x_BD.sum(dim=0))
        self._sum("active", (losses.codes.values > 0).sum())
        self._sum("gradient_norm", gradient_norm)
        self._sum("loss", losses.total.detach())
        for name, term in losses.terms.items():
            self._sum(f"loss/{name}", term)

    def read(self, team: Team = ALONE) -> dict[str, float]:
        """The averages since the last reading, over the batches of the whole team; starts afresh."""
        sums, tokens = self._sums, team.total_rows(self._tokens)
        sums |= {name: team.sum_rows(sums[name]) for name in ("squared_error", "squares", "mean")}
        sums["active"] = team.sum_all(sums["active"])
        variance = sums["squares"] - sums["mean"].square().sum() / tokens
        values = {
            "explained_variance": (1 - sums["squared_error"] / variance).item(),
            "l0": sums["active"].item() / tokens,
            "gradient_norm": sums["gradient_norm"].item() / self._batches,
        }
        values |= {name: s.item() / self._batches for name, s in sums.items() if name.startswith("loss")}
        self.__init__()
        return values

    def _sum(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value.double() if name in self._sums else value.double()


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, in the order of steps."""

    def __init__(self, path: Path, *, keep_up_to_step: int) -> None:
        """Open for appending, without the lines that an interrupted training wrote after its last checkpoint."""
        self._path = path
        kept = [line for line in read_metrics(path) if line["step"] <= keep_up_to_step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def append(self, line: dict[str, float]) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file; a last line that was cut off by a crash is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, float]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def finite(values: dict[str, float]) -> bool:
    """Whether every number is finite."""
    return bool(torch.isfinite(torch.tensor(list(values.values()))).all())
