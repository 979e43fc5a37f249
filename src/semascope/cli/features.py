"""semascope features: list, search and read features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.screen import console, highlighted, token_list
from semascope.errors import ConfigError
from semascope.features import Sort
from semascope.runs import Run


def features(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    feature: Annotated[int | None, typer.Argument(help="The feature to read; without it, a list.")] = None,
    sort: Annotated[str | None, typer.Option(help=f"One of {', '.join(get_args(Sort))}; minus: largest first.")] = None,
    search: Annotated[str | None, typer.Option(help="Only features that fire on a word or promote it.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list, or how many contexts to show.")] = 20,
) -> None:
    """List features, search them by a word, or read one with its contexts.

    Example: `semascope features runs/demo --search paris`, then `semascope features runs/demo 1234`
    """
    if sort is not None and sort not in get_args(Sort):
        raise ConfigError(f"features cannot be sorted by '{sort}': choose one of {', '.join(get_args(Sort))}")
    opened = Run.open(run)
    if feature is not None:
        _one(opened, feature, limit)
        return
    found = opened.features.list(sort=cast("Sort | None", sort), search=search, limit=limit)
    if not found:
        console.print(f"No feature fires on '{escape(search or '')}' or promotes it. Try a shorter part of the word.")
        return
    table = Table(box=None, padding=(0, 2))
    for name, justify in (("Feature", "right"), ("Density", "right"), ("Maximum", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    table.add_column("Fires on", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("Promotes", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in found:
        table.add_row(
            f"[magenta]#{one.feature}[/]", f"{one.density:.3%}", f"{one.maximum:.1f}",
            escape(token_list(one, "top_tokens")), escape(token_list(one, "promoted")),
        )  # fmt: skip
    console.print(table)


def _one(run: Run, feature: int, limit: int) -> None:
    page = run.features.page(feature, n_top=limit, n_intervals=0)
    statistics = page.statistics
    if not statistics.n_active:
        console.print(f"[magenta]#{feature}[/] never fires on the {run.features.n_tokens:,} tokens of the index.")
        return
    console.print(
        f"[bold magenta]#{feature}[/]  fires on {statistics.n_active:,} of {run.features.n_tokens:,} tokens "
        f"({statistics.density:.3%}), maximum {statistics.maximum:.1f}, mean {statistics.mean:.1f}"
    )
    for name, kind in (("fires on", "top_tokens"), ("promotes", "promoted"), ("suppresses", "suppressed")):
        console.print(f"  [dim]{name:<11}[/] {escape(token_list(statistics, kind, 10))}")
    near = "  ".join(f"#{one.feature} ({one.cosine:.2f})" for one in statistics.neighbours[:6])
    console.print(f"  [dim]{'neighbours':<11}[/] {near}")
    largest = max(statistics.histogram) or 1
    bars = "".join(" ▁▂▃▄▅▆▇█"[-(-8 * n // largest)] for n in statistics.histogram)
    console.print(f"  [dim]{'activation':<11}[/] 0 {bars} {statistics.maximum:.1f}\n")
    tokenizer = run.tokenizer
    for example in page.top:
        line = highlighted(example, tokenizer, statistics.maximum)
        folded = f" [dim]×{example.count}[/]" if example.count > 1 else ""
        console.print(f"[dim]{example.value:>7.1f}[/]{folded} ", end="")
        console.print(line)
