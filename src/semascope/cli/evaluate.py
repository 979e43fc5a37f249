"""semascope eval: how good a dictionary is, on held-out text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semascope.cli.terminal import console


def evaluate(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Measure reconstruction, sparsity and what the model's predictions lose; and what concepts the features know.

    Writes evaluation/reconstruction.json and evaluation/concepts.json. Concepts need labelled text (the embedded
    sample, or a `labels` column).

    Example: `semascope eval runs/mine`
    """
    from semascope.cli.screen import figures, knowledge
    from semascope.runs import Run

    opened = Run.open(run)
    console.print(figures(opened.evaluate()))
    if concepts := opened.score_concepts()["concepts"]:
        console.print(knowledge(concepts))
