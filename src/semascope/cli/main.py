"""The command line: one short file a command; here they are put together, and errors are told to people.

The commands import what is heavy (PyTorch, Transformers, DuckDB) when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from typer.core import TyperGroup

from semascope.cli import (
    attribute,
    calibrate,
    compare,
    compare_texts,
    completeness,
    concepts,
    demo,
    estimate,
    evaluate,
    export_site,
    features,
    find,
    index,
    label,
    law,
    monitor,
    neurons,
    recommend,
    report,
    scaling,
    serve,
    specificity,
    steer,
    train,
)
from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import ConfigError, SemascopeError
from semascope.launch import launched
from semascope.progress import shown_by


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command with progress on the screen; what goes wrong on purpose becomes one message."""
        try:
            console.quiet = launched().rank > 0  # One process of several talks.
            with nullcontext() if console.quiet else shown_by(RichReporter()):
                return super().invoke(ctx)
        except SemascopeError as error:
            _fail(str(error))
        except ValidationError as error:
            _fail(
                "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (given: {e['input']!r})" for e in error.errors())
            )
        except OSError as error:
            _fail(f"{error}: nothing that was complete on disk is lost; mend this and run the same command again")
        except KeyboardInterrupt:
            if launched().rank == 0:
                errors.print("\nInterrupted. The same command goes on from here.")
            raise typer.Exit(130) from None


def _fail(message: str) -> None:
    launch = launched()
    who = f" (process {launch.rank} of {launch.size})" if launch.size > 1 else ""
    errors.print(f"[bold red]error{who}:[/] {escape(message)}")
    raise typer.Exit(2) from None


app = typer.Typer(
    name="semascope",
    cls=_Commands,
    help="See what a language model represents: learn a dictionary of features from its activations, and read it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("estimate")(estimate.estimate)
app.command("eval")(evaluate.evaluate)
app.command("index")(index.index)
app.command("features")(features.features)
app.command("label")(label.label)
app.command("serve")(serve.serve)
app.command("export-site")(export_site.export_site)
app.command("concepts")(concepts.concepts)
app.command("completeness")(completeness.completeness)
app.command("find")(find.find)
app.command("specificity")(specificity.specificity)
app.command("monitor")(monitor.monitor)
app.command("compare")(compare.compare)
app.command("compare-texts")(compare_texts.compare_texts)
app.command("steer")(steer.steer)
app.command("calibrate")(calibrate.calibrate)
app.command("attribute")(attribute.attribute)
app.command("neurons")(neurons.neurons)
app.command("report")(report.report)
app.command("scaling")(scaling.scaling)
app.command("law")(law.law)
app.command("recommend")(recommend.recommend)


@app.callback()
def _settings(ctx: typer.Context) -> None:  # pyright: ignore[reportUnusedFunction]
    if launched().size > 1 and ctx.invoked_subcommand != "train":
        raise ConfigError(f"torchrun is for 'semascope train': start 'semascope {ctx.invoked_subcommand}' by itself")
    # Libraries' own progress bars and remarks would tear ours apart; what goes wrong reaches people as our error.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def run() -> None:
    """The ``semascope`` command."""
    app()
