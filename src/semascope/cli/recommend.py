"""semascope recommend: which dictionary a budget should train, by a law."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from semascope.cli.terminal import console

if TYPE_CHECKING:
    from semascope.config import RunConfig
    from semascope.scaling import Budget, Law, Recommendation


def recommend(
    budget: Annotated[
        str, typer.Option(help="FLOP (1e17), a time (30min, 24h), or a time on GPUs (8xH100:24h).", metavar="BUDGET")
    ],
    law: Annotated[Path, typer.Option(help="The folder of 'semascope scaling', or its law.json.", metavar="FOLDER")],
    hardware: Annotated[
        str | None, typer.Option(help="'here' (this machine, measured; the default), or h100, 8xH100, a100-80g, l4 …")
    ] = None,
    l0: Annotated[int | None, typer.Option(min=1, help="Active features a token, where the law knows several.")] = None,
    passes: Annotated[int, typer.Option(min=1, help="Passes over activations kept on disk, as of train.")] = 1,
    model: Annotated[str | None, typer.Option(help="Another model than that of the law; wants --borrow.")] = None,
    layer: Annotated[str | None, typer.Option(help="Another site than that of the law; wants --borrow.")] = None,
    borrow: Annotated[bool, typer.Option(help="Take the law for another model or site all the same.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say which dictionary to train with so much time or compute, what should come of it, and the command.

    A time is that of the whole command `semascope train`, harvest and evaluation included. Compute is counted as in
    `semascope scaling`. What lies beyond the budgets that were trained is marked as an extrapolation.

    Example: `semascope recommend --budget 8xH100:24h --law scaling/smollm2`
    """
    from semascope.cli.commands import train_command
    from semascope.config import ModelConfig, RunConfig
    from semascope.records import Site
    from semascope.scaling import Budget, Law
    from semascope.training import TrainingConfig

    found = Law.read(law)
    base = RunConfig(
        model=found.model if model is None else ModelConfig(name=model),
        site=found.site if layer is None else str(Site.parse(layer)),
        corpus=found.corpus,
        training=TrainingConfig(seed=found.corpus.seed),
        passes=passes,
    )
    asked = Budget.parse(budget, hardware)
    recommended = recommendation(found, asked, base, l0=l0, borrow=borrow)
    command = train_command(recommended.config, "runs/recommended", processes=asked.processes)
    if as_json:
        typer.echo(json.dumps(recommended.as_json() | {"command": command}, indent=2))
        return
    console.print(shown(recommended, found))
    console.print("Next:", style="bold")
    console.print(Text(command, style="cyan"), soft_wrap=True)


def recommendation(law: Law, budget: Budget, base: RunConfig, *, l0: int | None, borrow: bool) -> Recommendation:
    """What the law recommends for a run; refuses that of another model or site unless it is borrowed."""
    from semascope.estimate import measure_here
    from semascope.models.skeleton import Skeleton
    from semascope.scaling import recommend

    if not borrow:
        law.require(base.model.name, base.site)
    model = base.model
    skeleton = Skeleton.load(model.name, revision=model.revision, trust_remote_code=model.trust_remote_code)
    # This process has imported what a training imports, so it knows how long that takes.
    start = time.process_time()
    return recommend(law, budget, base, skeleton, lambda config: measure_here(config, skeleton, start=start), l0=l0)


def shown(found: Recommendation, law: Law) -> Group:
    """What to train, what to expect, and what it takes, as people read it."""
    from semascope.cli.estimate import duration
    from semascope.cli.laws import with_interval
    from semascope.estimate import gigabytes
    from semascope.scaling import flop

    said, training, takes = found.prediction, found.config.training, found.estimate
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(justify="right", style="bold cyan", no_wrap=True)
    grid.add_column(style="dim")
    grid.add_row("Features", f"{training.features:,}", f"by the law {with_interval(said.features, ',.0f')}")
    grid.add_row("Tokens", f"{training.tokens:,}", f"by the law {with_interval(said.tokens, ',.0f')}")
    rate = with_interval(said.learning_rate, ".3g")
    grid.add_row("Learning rate", f"{training.learning_rate:.3g}", f"by the law {rate}")
    grid.add_row("Batch", f"{training.batch_tokens:,}", f"that of the law; {training.steps:,} steps")
    for name, value, form in (
        ("Loss", said.loss, ".4g"),
        ("Explained variance", said.explained_variance, ".3f"),
        ("Dead features", said.dead_fraction, ".2%"),
    ):
        grid.add_row(name, f"{value.value:{form}}", f"expected, {with_interval(value, form)}")
    many = f"{takes.processes} processes of " if takes.processes > 1 else ""
    how = "measured just now" if takes.measured else "arithmetic from its data sheet"
    memory = f"{gigabytes(takes.peak_memory)} of {gigabytes(takes.limit)} a process"
    grid.add_row("Time", duration(takes.total_seconds), f"estimated for {many}{takes.hardware} ({how})")
    fits = Text(f"✓ fits: {memory}" if takes.fits else f"✗ does not fit: {takes.advice}")
    fits.stylize("green" if takes.fits else "bold red", 0, fits.plain.index(":"))
    notes: list[RenderableType] = [fits]
    if said.extrapolated is not None:
        notes.append(Text(extrapolation(said.extrapolated), style="yellow"))
    if law.at_l0(said.asked_l0).loss.problem:
        notes.append(
            Text("The loss is by a law without a floor: with one, the budgets that were trained tell nothing.")
        )
    if law.missing:
        notes.append(
            Text(f"The study is unfinished: {law.missing} dictionaries are missing in the law.", style="yellow")
        )
    where = f"{found.config.model.name} at {found.config.site}, {flop(said.flops)} FLOP"
    return Group(Text(where, style="dim"), grid, *notes)


def extrapolation(times: float) -> str:
    """How far beyond what was trained a budget lies, and what follows from it."""
    beyond = f"{times:,.3g} times the largest" if times > 1 else f"one {1 / times:,.3g}th of the smallest"
    return (
        f"An extrapolation: the budget is {beyond} that was trained. The intervals suppose that the law goes on as "
        "straight as between those budgets."
    )
