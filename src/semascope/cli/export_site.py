"""semascope export-site: features as pages that any web host can serve."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.markup import escape

from semascope.cli.terminal import console
from semascope.cli.values import count, each, whole_number
from semascope.errors import ConfigError

if TYPE_CHECKING:
    from semascope.server import ServedRun


def export_site(
    run: Annotated[Path, typer.Argument(help="The folder of a run that has an index.")],
    out: Annotated[Path, typer.Option(help="The folder of the copy; an earlier copy there is replaced.")],
    features: Annotated[str | None, typer.Option(help="Which features, such as 3,17,40.", metavar="ID,ID…")] = None,
    kept_list: Annotated[str | None, typer.Option("--list", help="The features on a list that people keep.")] = None,
    top: Annotated[int, typer.Option(parser=count, help="So many features.", metavar="N")] = 1000,
    by: Annotated[
        str, typer.Option(help="The largest by density, maximum, mean, output-score or input-score.")
    ] = "maximum",
) -> None:
    """Write a copy of features' pages that any web host can serve: no server, no model, nothing to edit.

    Labels and stars come along; notes and lists stay here. Whoever has the copy reads the contexts in it, and the card
    of the run with the name of its text.

    Example: `semascope export-site runs/demo --out site --top 1000 --by density`
    """
    from semascope.server import Served
    from semascope.server import export_site as export

    if features is not None and kept_list is not None:
        raise ConfigError("give --features or --list, not both")
    served = Served([run])
    with closing(served):
        [opened] = served
        if features is not None:
            chosen = [whole_number(one) for one in each(features)]
        elif kept_list is not None:
            chosen = _on_list(opened, kept_list)
        else:
            chosen = _largest(opened, by, top)
        size = export(opened, out, chosen)
    console.print(
        f"[bold]{size.n_features:,}[/] features in {size.n_files:,} files, {size.n_bytes / 1e6:,.1f} MB: "
        f"{size.n_bytes / size.n_features / 1e3:,.0f} KB a feature. Look at them with "
        f"[cyan]python -m http.server --directory {escape(str(out))} --bind 127.0.0.1[/]",
        soft_wrap=True,
    )


def _on_list(run: ServedRun, name: str) -> list[int]:
    if not run.catalog.has_list(name):
        names = ", ".join(f"'{one.name}'" for one in run.catalog.lists()) or "none"
        raise ConfigError(f"there is no list '{name}' in {run.run.folder}; there are: {names}")
    return run.catalog.on_list(name)


def _largest(run: ServedRun, by: str, top: int) -> list[int]:
    from semascope.runs import FeatureSort, Scores, ordered

    names = [sort.removeprefix("-") for sort in get_args(FeatureSort) if sort.startswith("-")]
    if by not in names:
        raise ConfigError(f"features cannot be chosen by '{by}': choose one of {', '.join(names)}")
    if by.endswith("score") and not Scores.of(run.run).measured:
        raise ConfigError(f"no feature has a score yet: run 'semascope calibrate {run.run.folder}', then try again")
    return run.index.select(sort=ordered(run.run, cast("FeatureSort", f"-{by}")))[:top].tolist()
