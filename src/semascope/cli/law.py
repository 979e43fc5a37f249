"""semascope law: fit a scaling study again, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console


def law(
    folder: Annotated[Path, typer.Argument(help="Of 'semascope scaling', also an unfinished one.")],
) -> None:
    """Fit the laws to the dictionaries that are there, and print them. Nothing is trained.

    Example: `semascope law scaling/smollm2`
    """
    from semascope.cli.laws import law_tables
    from semascope.scaling import Study

    study = Study.open(folder)
    fitted = study.fit()
    console.print(law_tables(fitted))
    console.print(f"Written: {escape(str(study.report(fitted)))}, law.json, points.csv, figures/")
