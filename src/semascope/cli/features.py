"""semascope features: list, search and read features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import console
from semascope.errors import ConfigError

if TYPE_CHECKING:
    from semascope.features import FeatureStatistics
    from semascope.runs import Run


def features(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    feature: Annotated[int | None, typer.Argument(help="The feature to read; without it, a list.")] = None,
    sort: Annotated[str | None, typer.Option(help="density, maximum, mean or id; with a minus, largest first.")] = None,
    search: Annotated[str | None, typer.Option(help="Only features with these words in their tokens or texts.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list, or how many contexts to show.")] = 20,
) -> None:
    """List features, search them by a word, or read one with its contexts.

    Example: `semascope features runs/demo --search paris`, then `semascope features runs/demo 1234`
    """
    from semascope.features import Sort
    from semascope.runs import Run

    if sort is not None and sort not in get_args(Sort):
        raise ConfigError(f"features cannot be sorted by '{sort}': choose one of {', '.join(get_args(Sort))}")
    opened = Run.open(run)
    if feature is not None:
        _show_one(opened, feature, limit)
    elif found := opened.features.list(sort=cast("Sort | None", sort), search=search, limit=limit):
        console.print(_listed(found))
    else:
        console.print(f"No feature fires on '{escape(search or '')}', near it, or promotes it. Try fewer words.")


def _listed(found: list[FeatureStatistics]) -> Table:
    from semascope.cli.screen import add_token_columns, token_cells

    table = Table(box=None, padding=(0, 1), expand=True)
    for name in ("Feature", "Density", "Maximum"):
        table.add_column(name, justify="right", no_wrap=True, min_width=8)
    add_token_columns(table)
    for one in found:
        table.add_row(f"[magenta]#{one.feature}[/]", f"{one.density:.3%}", f"{one.maximum:.1f}", *token_cells(one))
    return table


def _show_one(run: Run, feature: int, limit: int) -> None:
    from semascope.cli.screen import histogram, print_example, token_list

    page = run.features.page(feature, n_top=limit, n_intervals=0)
    statistics = page.statistics
    if not statistics.n_active:
        console.print(f"[magenta]#{feature}[/] never fires on the {run.features.n_tokens:,} tokens of the index.")
        return
    console.print(
        f"[bold magenta]#{feature}[/]  fires on {statistics.n_active:,} of {run.features.n_tokens:,} tokens "
        f"({statistics.density:.3%}), maximum {statistics.maximum:.1f}, mean {statistics.mean:.1f}"
    )
    lines = {
        "fires on": escape(token_list(statistics.top_tokens, 10)),
        "promotes": escape(token_list(statistics.promoted, 10)),
        "suppresses": escape(token_list(statistics.suppressed, 10)),
        "neighbours": "  ".join(f"#{one.feature} ({one.cosine:.2f})" for one in statistics.neighbours[:6]),
        "activation": f"0 {histogram(statistics.histogram)} {statistics.maximum:.1f}",
        **_steering(run, feature),
    }
    for name, value in lines.items():
        console.print(f"  [dim]{name:<11}[/] {value}")
    console.print()
    for example in page.top:
        print_example(example, run.tokenizer, statistics.maximum)


def _steering(run: Run, feature: int) -> dict[str, str]:
    """What `semascope calibrate` has measured of a feature."""
    from semascope.steering import SavedSteering

    saved = SavedSteering(run.folder / "steering", run.features.n_features)
    found: dict[str, str] = {}
    input_score, output_score = (float(scores_F[feature]) for scores_F in saved.scores())
    if input_score == input_score:  # not a number where it was not measured
        found["scores"] = f"input {input_score:.2f}, output {output_score:.3f}"
    if calibration := saved.calibration(feature):
        strength = calibration["recommended"]
        found["steers"] = f"at {strength:g} times its maximum" if strength else "not: no more than random features do"
    return found
