"""semascope completeness: which names have a feature, by how often the training text has them."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import DataError
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.concepts import Completeness


def completeness(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, such as several widths.")],
    names: Annotated[
        str,
        typer.Option(
            help="What is named: the label of encyclopedia articles (element, country, city, animal, plant, food, "
            "person, …), whose titles are taken, or a text file with a name a line."
        ),
    ] = "element",
    most: Annotated[int, typer.Option(help="At most so many names, by chance.", min=8)] = 60,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a figure: .png, .svg or .pdf.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the names and the halves of the sentences.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure for how many of many names a dictionary has a feature, by how often its training text has them.

    Each name is told from the others in 16 sentences: half of them choose the feature whose direction is nearest to
    what the name adds, the others score it. A name has one when it is nearer than any of as many random directions,
    its AUC is at least 0.95, not by chance, and it is not nearer to another name. The share is fitted by a sigmoid of
    the logarithm of the frequency. Writes evaluation/completeness-NAMES.json.

    Example: `semascope completeness runs/sweep/features4096 runs/sweep/features16384 --names element --plot names.png`
    """
    from semascope.concepts import count_names, measure_completeness
    from semascope.report import check_plot_path, write_completeness_plot
    from semascope.runs import Run

    if plot is not None:
        check_plot_path(plot)
    kind, chosen = _names(names)
    chosen = sorted(random.Random(seed).sample(chosen, min(most, len(chosen))))
    opened = [Run.open(run) for run in runs]
    measured: list[tuple[str, Completeness]] = []
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        for one in opened:
            counts, tokens = count_names(one.corpus.training(), chosen, one.tokenizer, one.config.harvest_tokens)
            found = measure_completeness(one.reader, kind, counts, tokens, seed=seed)
            one.write_result(f"completeness-{kind}", found.as_json())
            measured.append((one.folder.name, found))
    if plot is not None:
        write_completeness_plot(plot, measured)
    if as_json:
        typer.echo(json.dumps([{"run": name, **found.as_json()} for name, found in measured], ensure_ascii=False))
        return
    _show(measured)
    if plot is not None:
        console.print(f"[dim]{escape(str(plot))}[/]")


def _names(asked: str) -> tuple[str, list[str]]:
    from semascope.text import encyclopedia_names, read_text_file

    file = Path(asked).expanduser()
    if file.is_file():
        return file.stem, list(
            dict.fromkeys(line.strip() for line in read_text_file(file).splitlines() if line.strip())
        )
    if file.suffix:
        raise DataError(f"{file} does not exist: expected a text file with a name a line")
    if not (found := encyclopedia_names(asked)):
        raise DataError(
            f"no encyclopedia article has the label '{asked}': choose element, country, city, animal, plant, food, "
            "disease, language, mathematics or person, or give a text file with a name a line"
        )
    return asked, found


def _show(measured: list[tuple[str, Completeness]]) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("Run", style="bold")
    for heading in ("Features", "Names", "Have a feature", "Half do at", "Slope"):
        table.add_column(heading, justify="right", style="bold cyan" if heading == "Have a feature" else "")
    for name, found in measured:
        fit = found.fit
        table.add_row(
            escape(name), f"{found.features:,}", f"{len(found.names)}", f"{found.share:.0%}",
            "–" if fit is None else f"{10**fit.middle:,.3g} a million", "–" if fit is None else f"{fit.slope:.2f}",
        )  # fmt: skip
    console.print(table)
    for name, found in measured:
        present = sorted((one for one in found.names if one.present), key=lambda one: -one.count)
        absent = sorted((one for one in found.names if not one.present), key=lambda one: -one.count)
        for title, rows in (("Present", present), ("Absent", absent)):
            shown = "  ".join(f"{one.name} ({one.count})" for one in rows[:8]) or "none"
            console.print(f"[dim]{escape(name)}[/] {title}: {escape(shown)}", soft_wrap=True)
    console.print(
        "[dim]In brackets: occurrences in the training text. Half do at: where the fitted sigmoid is a half. Slope: of "
        "the log-odds, for ten times the frequency. –: it does not rise with the frequency beyond chance.[/]"
    )
