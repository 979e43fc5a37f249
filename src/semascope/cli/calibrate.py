"""semascope calibrate: which features steer, and how far they can be turned up."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import console
from semascope.cli.values import each
from semascope.errors import ConfigError

if TYPE_CHECKING:
    from semascope.runs import Run
    from semascope.steering import Calibration, SavedSteering

_HELD_OUT_TOKENS = 512


def calibrate(
    run: Annotated[Path, typer.Argument(help="The folder of a run with a feature index.")],
    feature: Annotated[
        list[int] | None, typer.Option("--feature", "-f", help="Whose strengths to try; without it, all are scored.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="What to clamp to, in multiples of the maximum.")] = "0.5,1,1.5,2,3",
    texts: Annotated[int, typer.Option(help="How many texts to write at each strength, at most 24.")] = 24,
    tokens: Annotated[int, typer.Option(help="How many tokens in each.")] = 24,
    controls: Annotated[int, typer.Option(help="How many random features to compare with.")] = 6,
    about: Annotated[
        str | None, typer.Option(help="What the control that asks in the prompt names; default: the feature's tokens.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the texts and of the random features.")] = 0,
) -> None:
    """Measure what turning a feature up does, and what it breaks, and recommend a strength, if there is one.

    At each strength the model writes from neutral prompts and reads held-out text, also with random features in place
    of this one. Without a feature, every feature gets an input and an output score: what turns it on, and whether it
    makes the model say what it stands for. All is kept in the folder steering of the run.

    Example: `semascope calibrate runs/demo -f 3892`
    """
    from semascope.runs import Run
    from semascope.steering import CalibrationSettings, feature_scores
    from semascope.steering import calibrate as measure

    settings = CalibrationSettings(tuple(map(_number, each(strengths))), texts, tokens, controls, seed=seed)
    opened = Run.open(run)
    index, steering = opened.features, opened.steering
    saved = opened.saved_steering
    if not feature:
        alive = (index.densities() > 0).nonzero()[0].tolist()
        saved.add_scores(feature_scores(steering, index, alive))
        console.print(_best(opened, saved))
        return
    wanted = max(1, _HELD_OUT_TOKENS // opened.config.corpus.context_tokens)
    windows_WT = next(opened.source.windows(held_out=True)).tokens_BT[:wanted]
    for one in feature:
        calibration = measure(steering, index, one, windows_WT, settings, about=about)
        saved.add_calibration(calibration)
        console.print(_levels(calibration))
        console.print(_verdict(calibration, run))


def _number(text: str) -> float:
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ConfigError(f"'{text}' is not a strength: expected multiples of the maximum, such as 0.5,1,2") from None


def _levels(calibration: Calibration) -> Table:
    """What each strength does."""
    title = f"#{calibration.feature} clamped to multiples of its maximum, {calibration.maximum:.1f}"
    table = Table(box=None, padding=(0, 1), title=title, title_justify="left", title_style="bold")
    # Two lines of headers: ten columns fit into the 80 of a narrow terminal.
    headers = (
        "", "Of\nnorm", "\nEcho", "\nRandom", "Own\ntokens", "\nRandom", "\nKL", "Sur-\nprise", "Repe-\nated", "",
    )  # fmt: skip
    for name in headers:
        table.add_column(name, justify="right", no_wrap=True, style="bold cyan" if "Echo" in name else "")
    before, asked = calibration.untouched, calibration.asked
    for name, norm, kl, figures in (("0", "0", "0", before), ("ask", "", "", asdict(asked))):
        surprise, repetition = f"{figures['surprise']:.2f}", f"{figures['repetition']:.2f}"
        table.add_row(name, norm, f"{figures['echo']:.3f}", "", "", "", kl, surprise, repetition, "")
    for level in calibration.levels:
        table.add_row(
            f"{level.strength:g}x", f"{level.of_norm:.2f}", f"{level.echo:.3f}", f"≤ {level.echo_controls[1]:.2f}",
            f"{level.log_odds:+.2f}", f"≤ {level.log_odds_controls[1]:+.1f}", f"{level.kl:.2f}",
            f"{level.surprise:.2f}", f"{level.repetition:.2f}", "" if level.acceptable else "[red]damage[/]",
        )  # fmt: skip
    table.caption = (
        "Norm: of the change, in median norms of activations. Echo: how strongly the feature fires when the untouched "
        "model reads what was written. Own tokens: their log-odds on held-out text. Random: up to where 95 % of like "
        "features come. KL, surprise: nats a token. Damage: more than is accepted. "
        f"Ask: without an intervention, when the prompt asks for a text about {escape(asked.about)}."
    )
    return table


def _verdict(calibration: Calibration, run: Path) -> str:
    number, chosen = calibration.feature, calibration.chosen
    if calibration.tested is None:
        return f"[bold]#{number} does not steer[/]: at every strength tried the damage is too large. Try smaller ones."
    tested = calibration.tested
    low, high = tested.echo_interval
    told = (
        f"on the texts that did not choose {chosen:g}x its echo is {tested.echo:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}), and that of random features up to {tested.controls[1]:.3f}"
    )
    if calibration.recommended is None:
        return f"[bold]#{number} does not steer[/]: {told}."
    command = escape(f'semascope steer {run} -f {number}={calibration.recommended:g}x "…"')
    return f"[bold]#{number} steers, at {calibration.recommended:g}x[/]: {told}. Next: [cyan]{command}[/]"


def _best(run: Run, saved: SavedSteering) -> Table:
    """The features with the highest output scores."""
    from semascope.cli.screen import add_token_columns, token_cells

    input_F, output_F = saved.scores()
    table = Table(box=None, padding=(0, 1), expand=True, title="Likely to steer", title_justify="left")
    for name in ("Feature", "Output score", "Input score"):
        table.add_column(name, justify="right", no_wrap=True)
    add_token_columns(table)
    for feature in output_F.nan_to_num(-1).topk(min(20, len(output_F))).indices.tolist():
        scores = (f"{output_F[feature]:.3f}", f"{input_F[feature]:.2f}")
        table.add_row(f"[magenta]#{feature}[/]", *scores, *token_cells(run.features.statistics(feature)))
    return table
