"""semascope report: the run at a glance, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console


def report(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write report.html: figures, curves, what it knows, and 100 features with their contexts.

    Example: `semascope report runs/mine`
    """
    from semascope.runs import Run

    opened = Run.open(run)
    opened.index()
    console.print(f"Written: {escape(str(opened.report()))}")
