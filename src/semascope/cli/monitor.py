"""semascope monitor: texts flagged by features and thresholds as they come."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import ConfigError, DataError
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.concepts import Check, Hits


def monitor(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    rules: Annotated[Path, typer.Option(help="A YAML file of rules.")],
    check: Annotated[
        Path | None, typer.Option(metavar="LABELLED", help="Instead of reading texts, measure the rules on these.")
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(metavar="LABELLED", help="Train a probe for each rule, and give its verdict too.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The field of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="In labelled texts, the column of the labels.")] = "label",
    every: Annotated[bool, typer.Option("--every", help="Also print texts that nothing flags.")] = False,
    at_once: Annotated[
        int, typer.Option(help="How many texts are read together; 1 answers each line when it comes.", min=1)
    ] = 16,
    seed: Annotated[int, typer.Option(help="With --check: divides the labelled texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print everything as JSON.")] = False,
) -> None:
    """Flag texts in which features exceed thresholds: JSON lines in, JSON lines out, as they come.

    Every line that comes in is an object with a text. What goes out has its line number, its id if it has one, and for
    every rule that flags it the score and the spans that fired. A line that cannot be read is told and passed over;
    then the command ends with status 1.

    Example: `semascope monitor runs/demo --rules rules.yaml < texts.jsonl`
    """
    import torch

    from semascope.concepts import Monitor, check_rules, read_rules, train_probes
    from semascope.runs import Run
    from semascope.text import read_labelled

    if check is not None and probe is not None:
        raise ConfigError("--check trains a probe on half of its texts: leave --probe out")
    opened = Run.open(run)
    asked = read_rules(rules, opened.dictionary.features)
    in_maxima = any(condition.in_maxima for rule in asked for condition in rule.conditions)
    maxima_F = torch.from_numpy(opened.features.maxima()) if in_maxima else torch.zeros(opened.dictionary.features)
    with shown_by(RichReporter(errors)):  # Standard output is for the results.
        watching = Monitor(
            opened.reader, asked, maxima_F, context_tokens=opened.config.corpus.context_tokens, texts_at_once=at_once
        )
        if check is not None:
            found = check_rules(
                watching, read_labelled(check, text_column=text_column, label_column=label_column), seed=seed
            )
            if as_json:
                typer.echo(json.dumps([one.as_json() for one in found], ensure_ascii=False))
            else:
                _show(found)
            return
        documents = read_labelled(probe, text_column=text_column, label_column=label_column) if probe else None
        probes = train_probes(watching, documents) if documents else {}
    lines = _Lines(sys.stdin, text_column)
    for watched in watching.watch(lines):
        said = {name: one.score(watched.mean_D[None]).item() > 0 for name, one in probes.items()}
        number, id = lines.places.popleft()
        if watched.flags or any(said.values()) or every:
            given: dict[str, Any] = {"line": number} | ({} if id is None else {"id": id})
            given["flags"] = [asdict(flag) for flag in watched.flags]
            if probes:
                given["probe"] = [name for name, flagged in said.items() if flagged]
            typer.echo(json.dumps(given, ensure_ascii=False))
    if lines.unread:
        errors.print(f"[bold red]{lines.unread} lines could not be read[/]")
        raise typer.Exit(1)


class _Lines:
    """The texts of JSON lines; where they stand is kept until it is taken, and what cannot be read is told."""

    def __init__(self, lines: Iterable[str], column: str) -> None:
        self.places: deque[tuple[int, Any]] = deque()
        self.unread = 0
        self._lines, self._column = lines, column

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, start=1):
            if not line.strip():
                continue
            try:
                row = _row(line, self._column, number)
            except DataError as error:
                self.unread += 1
                errors.print(f"[red]{escape(str(error))}[/]")
                continue
            self.places.append((number, row.get("id")))
            yield row[self._column]


def _row(line: str, column: str, number: int) -> dict[str, Any]:
    from semascope.text import parse_json

    row = parse_json(line, f"line {number}")
    if not isinstance(row, dict) or not isinstance(row.get(column), str):  # pyright: ignore[reportUnknownMemberType]
        raise DataError(f"line {number} is no object with a text in the field '{column}'")
    return row  # pyright: ignore[reportUnknownVariableType]


def _show(checks: list[Check]) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("Rule", style="bold")
    table.add_column("")
    for name in ("Precision", "Recall"):
        table.add_column(name, justify="right", style="bold cyan", no_wrap=True)
        table.add_column("95 %", style="dim", no_wrap=True)
    table.add_column("AUC", justify="right")
    table.add_column("Flagged", justify="right")
    table.add_column("Texts", justify="right", style="dim", no_wrap=True)
    for one in checks:
        table.add_row(escape(one.rule), "features", *_hits(one.by_rule), f"{one.positives}+{one.negatives}")
        table.add_row("", "probe", *_hits(one.by_probe), "")
    console.print(table)
    console.print(
        "[dim]On the half of the texts that did not train the probe, a difference of means of raw activations with the "
        "threshold of its best F1. AUC: of the score, whatever the threshold.[/]"
    )


def _hits(one: Hits) -> list[str]:
    def between(interval: tuple[float, float]) -> str:
        return f"{interval[0]:.2f}–{interval[1]:.2f}"

    precision = "–" if one.precision is None else f"{one.precision:.2f}"
    return [
        precision, between(one.precision_interval), f"{one.recall:.2f}", between(one.recall_interval),
        f"{one.auc:.3f}", f"{one.flagged}",
    ]  # fmt: skip
