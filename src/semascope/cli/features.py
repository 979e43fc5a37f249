"""semascope features: list, search and read features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from semascope.catalog import Catalog
from semascope.cli.terminal import console
from semascope.errors import ConfigError

if TYPE_CHECKING:
    from semascope.catalog import Entry, Written
    from semascope.features import FeatureStatistics
    from semascope.runs import FeatureSort, Run, Scores


def features(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    feature: Annotated[int | None, typer.Argument(help="The feature to read; without it, a list.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="density, maximum, mean, id, output-score or input-score; with a minus, largest first."),
    ] = None,
    search: Annotated[str | None, typer.Option(help="Only features with these words in label, token or text.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list, or how many contexts to show.")] = 20,
) -> None:
    """List features, search them by a word, or read one with its contexts.

    Example: `semascope features runs/demo --search paris`, then `semascope features runs/demo 1234`
    """
    from semascope.runs import FeatureSort, Run, Scores, ordered

    if sort is not None and sort not in get_args(FeatureSort):
        raise ConfigError(f"features cannot be sorted by '{sort}': choose one of {', '.join(get_args(FeatureSort))}")
    opened = Run.open(run)
    if feature is not None:
        _show_one(opened, feature, limit)
        return
    with Catalog.of_run(run) as catalog:
        named = catalog.search(search) if search else ()
        ids = opened.features.select(sort=ordered(opened, cast("FeatureSort | None", sort)), search=search, named=named)
        found = opened.features.of(ids[:limit].tolist())
        entries = catalog.entries([one.feature for one in found])
    if found:
        scores = Scores.of(opened) if sort and "score" in sort else None
        labels = {feature: entry.label for feature, entry in entries.items() if entry.label}
        console.print(_listed(found, labels, scores))
    else:
        console.print(f"No feature fires on '{escape(search or '')}', near it, or promotes it. Try fewer words.")


def _listed(found: Sequence[FeatureStatistics], labels: Mapping[int, Written], scores: Scores | None) -> Table:
    from semascope.cli.screen import add_token_columns, token_cells

    table = Table(box=None, padding=(0, 1), expand=True)
    for name in ("Feature", "Density", "Maximum", *(["Output", "Input"] if scores else [])):
        table.add_column(name, justify="right", no_wrap=True, min_width=8)
    if labels:
        table.add_column("Label", style="bold", no_wrap=True, overflow="ellipsis", ratio=1)
    add_token_columns(table)
    for one in found:
        label = [escape(labels[one.feature].text) if one.feature in labels else ""] if labels else []
        numbers = [f"[magenta]#{one.feature}[/]", f"{one.density:.3%}", f"{one.maximum:.1f}"]
        if scores:
            numbers += [f"{scores.output_F[one.feature]:.3f}", f"{scores.input_F[one.feature]:.2f}"]
        table.add_row(*numbers, *label, *token_cells(one))
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
    with Catalog.of_run(run.folder) as catalog:
        added = catalog.entry(feature)
    lines = {
        **_added(added),
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


def _added(entry: Entry) -> dict[str, str]:
    """What people added."""
    written = {"label": entry.label, "note": entry.note}
    found = {name: escape(one.text) for name, one in written.items() if one}
    if kept := [*(["starred"] if entry.starred else []), *entry.lists]:
        found["kept in"] = escape(", ".join(kept))
    return found


def _steering(run: Run, feature: int) -> dict[str, str]:
    """What `semascope calibrate` has measured of a feature."""
    saved = run.saved_steering
    found: dict[str, str] = {}
    input_score, output_score = (float(scores_F[feature]) for scores_F in saved.scores())
    if input_score == input_score:  # not a number where it was not measured
        found["scores"] = f"input {input_score:.2f}, output {output_score:.3f}"
    if calibration := saved.calibration(feature):
        strength = calibration["recommended"]
        found["steers"] = f"at {strength:g} times its maximum" if strength else "not: no more than random features do"
    return found
