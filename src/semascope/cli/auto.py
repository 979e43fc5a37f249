"""semascope train --auto: the sizes of a run from a budget, by a law."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from semascope.cli.terminal import console
from semascope.errors import ConfigError
from semascope.launch import launched

if TYPE_CHECKING:
    from semascope.config import RunConfig

# What the law decides, and what it knows nothing of.
_DECIDED = ("variant", "matryoshka", "features", "coefficient", "option", "tokens", "batch", "learning_rate")
_UNKNOWN = ("to", "skip", "dead_after", "data_parallel")


def auto_config(
    ctx: typer.Context, budget: str, law: Path | None, base: RunConfig, out: Path, *, l0: int | None, borrow: bool
) -> RunConfig:
    """The run with the features, tokens, batch, variant and learning rate that a law recommends.

    Raises ConfigError for options that would decide the same, for a run that does not fit, and for a time measured by
    several processes, which would not agree.
    """
    from semascope.cli.recommend import recommendation, shown
    from semascope.runs import Run
    from semascope.scaling import Budget, Law

    given = [name for name in _DECIDED + _UNKNOWN if _is_given(ctx, name)]
    if given:
        option = "--" + given[0].replace("_", "-")
        why = "the law decides that" if given[0] in _DECIDED else "the law knows nothing of that"
        raise ConfigError(f"--auto and {option} exclude each other, for {why}: leave one of them out")
    if law is None:
        raise ConfigError("--auto needs the law of this model: give --law FOLDER; 'semascope scaling' makes one")
    found, asked, processes = Law.read(law), Budget.parse(budget), launched().size
    if asked.measured and processes > 1:
        raise ConfigError(
            f"{processes} processes would measure '{budget}' each for itself: give FLOP, or a time on GPUs such as "
            f"{processes}xH100:24h"
        )
    if asked.processes == 1 and asked.flops is not None:
        asked = dataclasses.replace(asked, processes=processes)
    if asked.processes != processes:
        raise ConfigError(
            f"the budget '{budget}' is one of {asked.processes} processes, and {processes} were started: start "
            "so many with torchrun ('semascope recommend' prints the command)"
        )
    if asked.measured and (out / "run.json").is_file():
        # Measured again, the sizes would be a little different, and this run could not go on.
        console.print(f"Going on with the sizes that were measured when {out} was begun", style="dim", markup=False)
        return base.model_copy(update={"training": Run.open(out).config.training})
    recommended = recommendation(found, asked, base, l0=l0, borrow=borrow)
    console.print(shown(recommended, found))
    if not recommended.estimate.fits:
        raise ConfigError(f"what '{budget}' should train does not fit: {recommended.estimate.advice}")
    if found.corpus.source != base.corpus.source:
        console.print(
            f"The law is of the text '{found.corpus.source}', and this one may have another.", style="yellow",
            markup=False,
        )  # fmt: skip
    return recommended.config


def _is_given(ctx: typer.Context, name: str) -> bool:
    """Whether an option was written, be it with its default value."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
