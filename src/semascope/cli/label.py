"""semascope label: what people call a feature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console
from semascope.errors import ConfigError


def label(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    feature: Annotated[int, typer.Option("--feature", "-f", help="The feature.")],
    text: Annotated[str | None, typer.Argument(help="The label: a few words.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the label that it has.")] = False,
) -> None:
    """Label a feature, in place of the label that it has. The browser shows it at once, and searches find it.

    Example: `semascope label runs/demo -f 3892 "French, France, Paris"`
    """
    from semascope.catalog import Catalog
    from semascope.runs import RunFolder

    if (text is None) != remove:
        raise ConfigError("give either a label or --remove")
    opened = RunFolder.open(run)
    if feature not in opened.features:
        raise ConfigError(
            f"there is no feature {feature}: the index of {run} holds 0 to {opened.features.n_features - 1}"
        )
    with Catalog.of_run(run) as catalog:
        if text is None:
            catalog.erase(feature, "label")
        else:
            catalog.write(feature, "label", text)
    console.print(f"[magenta]#{feature}[/] {escape(text.strip()) if text else '[dim]has no label now[/]'}")
