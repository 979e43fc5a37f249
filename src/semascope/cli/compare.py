"""semascope compare: two dictionaries of one model and site beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import ConfigError
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.features import Comparison, Counterpart, FeatureStatistics
    from semascope.runs import RunFolder

_BINS = 40
_CHILDREN = 6


def compare(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    other: Annotated[Path, typer.Argument(help="Another run of the same model and site.")],
    feature: Annotated[
        int | None, typer.Option("--feature", "-f", help="A feature of RUN: its counterparts in OTHER.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The cosine from which on features are counterparts; without it, what is beyond chance."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many features of each kind to list.", min=0)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell which features two dictionaries share, which split, and which are in one of them alone.

    Counterparts are features whose decoder directions are near. They need an index each; where both are of the same
    tokens, it is also told how often counterparts fire together. What is computed is kept with the narrower run.

    Example: `semascope compare runs/narrow runs/wide`, then `semascope compare runs/narrow runs/wide -f 1234`
    """
    from semascope.runs import RunFolder, compare_runs

    runs = RunFolder.open(run), RunFolder.open(other)
    names = (run.name, other.name) if run.name != other.name else (str(run), str(other))
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        found = compare_runs(*runs)
    found = found if threshold is None else found.at(threshold)
    if feature is not None and feature not in runs[0].features:
        raise ConfigError(f"there is no feature {feature}: {run} has features 0 to {runs[0].features.n_features - 1}")
    if as_json:
        told = _summary(found, limit) if feature is None else _of_one(found, feature)
        typer.echo(json.dumps(told, ensure_ascii=False))
    elif feature is None:
        _show(found, runs, names, limit)
    else:
        _show_one(found, runs, feature, names[1])


def _summary(found: Comparison, limit: int) -> dict[str, Any]:
    """Both sides in figures, with the first features of each kind."""
    return {
        "threshold": found.threshold,
        "chance": found.chance,
        "same_text": found.same_text,
        **{
            name: {
                "firing": int((side.here.n_active_F > 0).sum()),
                **{kind: len(of_kind) for kind, of_kind in kinds.items()},
                "cosines": side.histogram(_BINS).tolist(),
                "first": {kind: of_kind[:limit].tolist() for kind, of_kind in kinds.items()},
            }
            for name, side in (("run", found), ("other", found.turned))
            for kinds in [{"shared": side.shared(), "split": side.split(), "alone": side.alone()}]
        },
    }


def _of_one(found: Comparison, feature: int) -> dict[str, Any]:
    return {
        "feature": feature,
        "threshold": found.threshold,
        "counterparts": [asdict(one) for one in found.counterparts(feature)],
        "children": [asdict(one) for one in found.family(feature).children],
    }


def _show(found: Comparison, runs: tuple[RunFolder, RunFolder], names: tuple[str, str], limit: int) -> None:
    from semascope.cli.screen import histogram

    told = _summary(found, limit)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(escape(name), justify="right", style="bold cyan", overflow="fold")
    rows = {
        "Features that fire": "firing",
        "Each other's best counterpart": "shared",
        "Split into several": "split",
        "In this one alone": "alone",
    }
    for row, kind in rows.items():
        table.add_row(row, *(f"{told[side][kind]:,}" for side in ("run", "other")))
    console.print(table)
    for side, name in zip(("run", "other"), names, strict=True):
        console.print(f"Best cosines  0 {histogram(told[side]['cosines'])} 1  [dim]{escape(name)}[/]")
    chance = f"99 % of random directions stay below {found.chance:.2f}"
    console.print(
        f"[dim]Counterparts have a cosine of at least {found.threshold:.2f}; {chance}. --threshold sets another.[/]"
    )
    if not found.same_text:
        console.print("[dim]The runs were indexed on different tokens: which features fire together is not known.[/]")
    (run, other), (name, others_name) = runs, names
    _print_split(found, run, other, f"Features of {name} that split", limit)
    _print_split(found.turned, other, run, f"Features of {others_name} that split", limit)
    _print_alone(found.turned, other, f"In {others_name} and not in {name}", limit)
    _print_alone(found, run, f"In {name} and not in {others_name}", limit)


def _print_split(found: Comparison, here: RunFolder, there: RunFolder, title: str, limit: int) -> None:
    table = _table(title, "Feature", "Children")
    for parent in found.split()[:limit].tolist():
        children = found.family(parent).children
        known = there.features.of([one.feature for one in children[:_CHILDREN]])
        into = "  ".join(f"[magenta]#{one.feature}[/] {_first(one, 2)}" for one in known)
        table.add_row(f"#{parent}", f"{len(children)}", _first(here.features.statistics(parent)), into)
    _print(table, more=len(found.split()) - limit)


def _print_alone(found: Comparison, here: RunFolder, title: str, limit: int) -> None:
    table = _table(title, "Feature", "Cosine", into=None)
    features = found.alone()
    for one in here.features.of(features[:limit].tolist()):
        table.add_row(f"#{one.feature}", f"{found.here.cosine_F[one.feature]:.2f}", _first(one, 8))
    _print(table, more=len(features) - limit)


def _table(title: str, *columns: str, into: str | None = "Splits into") -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), title=escape(title), title_justify="left", title_style="bold", expand=True
    )
    for name, style in zip(columns, ("magenta", "bold cyan"), strict=True):
        table.add_column(name, justify="right", style=style, no_wrap=True)
    for name, ratio in (("Fires on", 1), (into, 3)):
        if name is not None:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=ratio)
    return table


def _print(table: Table, *, more: int) -> None:
    if not table.row_count:
        return
    console.print()
    console.print(table)
    if more > 0:
        console.print(f"[dim]and {more:,} more[/]")


def _show_one(found: Comparison, runs: Sequence[RunFolder], feature: int, other: str) -> None:
    here, there = (run.features for run in runs)
    known = here.statistics(feature)
    if not known.n_active:
        console.print(f"[magenta]#{feature}[/] never fires on the {here.n_tokens:,} tokens of the index.")
        return
    console.print(f"[bold magenta]#{feature}[/]  {known.density:.3%} of tokens, fires on {_first(known, 8)}")
    children = found.family(feature).children
    counterparts = found.counterparts(feature)
    of_others: Mapping[int, FeatureStatistics] = {
        one.feature: one for one in there.of([one.feature for one in (*children, *counterparts)])
    }
    best = counterparts[0]
    if best.cosine < found.threshold:
        console.print(f"It has no counterpart in {escape(other)}: the nearest cosine is {best.cosine:.2f}.")
    for title, rows in (
        (f"Its children in {other}: the features there whose best counterpart it is", children),
        (f"The nearest of {other}, and what fires together with it most", counterparts),
    ):
        if rows:
            console.print()
            console.print(_counterparts(title, rows, of_others, together=found.same_text))
    if found.same_text:
        console.print(f"[dim]Its tokens: on how many of the tokens of #{feature} the other fires; and the reverse.[/]")


def _counterparts(
    title: str, rows: Sequence[Counterpart], known: Mapping[int, FeatureStatistics], *, together: bool
) -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), title=escape(title), title_justify="left", title_style="bold", expand=True
    )
    for name, style in (("Feature", "magenta"), ("Cosine", "bold cyan")):
        table.add_column(name, justify="right", style=style, no_wrap=True)
    for name in ("Its tokens", "The other's") if together else ():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Fires on", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in rows:
        shares = [f"{share:.0%}" for share in (one.share, one.share_there) if share is not None]
        table.add_row(f"#{one.feature}", f"{one.cosine:.2f}", *shares, _first(known[one.feature], 8))
    return table


def _first(one: FeatureStatistics, n: int = 4) -> str:
    from semascope.cli.screen import token_list

    return escape(token_list(one.top_tokens, n))
