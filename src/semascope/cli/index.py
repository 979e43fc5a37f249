"""semascope index: where every feature fires, so that features can be read and searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console


def index(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    map: Annotated[bool, typer.Option("--map", help="Lay the features out on a map too.")] = False,
) -> None:
    """Encode the text and build the feature index: examples, statistics, neighbours, promoted tokens.

    Example: `semascope index runs/mine`
    """
    from semascope.runs import Run

    opened = Run.open(run)
    built = opened.index()
    if map:
        laid_out = opened.map()
        console.print(f"{len(laid_out.features_n):,} features are on the map.")
    console.print(
        f"{built.n_alive:,} of {built.n_features:,} features fire on {built.n_tokens:,} tokens. "
        f"Next: [cyan]semascope features {escape(str(run))}[/]"
    )
