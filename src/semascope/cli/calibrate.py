"""semascope calibrate: which features steer, and how far they can be turned up."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.options import AcceptLicense
from semascope.cli.terminal import console
from semascope.cli.values import each
from semascope.errors import ConfigError

if TYPE_CHECKING:
    from semascope.concepts import ConceptProbe
    from semascope.runs import Run
    from semascope.steering import Calibration, OnConcept, SavedSteering

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
    concept: Annotated[
        str | None, typer.Option(metavar="SUITE:NAME", help="A concept that the written texts are scored for.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="Or a JSONL, JSON, CSV or Parquet file with texts and their labels.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label in it; without it, the one that says yes.")] = None,
    accept_license: AcceptLicense = None,
    seed: Annotated[int, typer.Option(help="Of the texts and of the random features.")] = 0,
) -> None:
    """Measure what turning a feature up does, and what it breaks, and recommend a strength, if there is one.

    At each strength the model writes from neutral prompts and reads held-out text, also with random features in place
    of this one. With a concept, a probe on raw activations, which labelled texts train, says how far the written texts
    are about it. Without a feature, every feature gets an input and an output score: what turns it on, and whether it
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
        if concept or labelled or label:
            raise ConfigError("a concept scores what is written with a feature turned up: give one with -f")
        alive = (index.densities() > 0).nonzero()[0].tolist()
        saved.add_scores(feature_scores(steering, index, alive))
        console.print(_best(opened, saved))
        return
    wanted = max(1, _HELD_OUT_TOKENS // opened.config.corpus.context_tokens)
    probe = _probe(opened, concept, labelled, label, accept_license, seed)
    windows_WT = next(opened.source.windows(held_out=True)).tokens_BT[:wanted]
    for one in feature:
        calibration = measure(steering, index, one, windows_WT, settings, about=about, probe=probe)
        saved.add_calibration(calibration)
        console.print(_levels(calibration))
        console.print(_verdict(calibration, run))
        if calibration.on_concept:
            _show_concept(calibration, calibration.on_concept)


def _number(text: str) -> float:
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ConfigError(f"'{text}' is not a strength: expected multiples of the maximum, such as 0.5,1,2") from None


def _probe(
    run: Run, concept: str | None, labelled: Path | None, label: str | None, accept_license: str | None, seed: int
) -> ConceptProbe | None:
    """Trained on the labelled texts that are given, if any."""
    from semascope.concepts import ConceptProbe, read_concept
    from semascope.text import positive_label, read_labelled

    if concept and labelled:
        raise ConfigError(
            "a concept is scored by a suite's texts (--concept) or by those of a file (--labelled): give one"
        )
    if label and not labelled:
        raise ConfigError("--label is one of the labels in a file: give it with --labelled")
    if concept:
        wanted, suite = read_concept(concept)
        documents = run.corpus.labelled(suite.documents(accept_license))
        return ConceptProbe.train(
            run.reader, documents, wanted.name, has=wanted.is_positive, lacks=wanted.is_negative, seed=seed
        )
    if labelled:
        documents = read_labelled(labelled)
        sought = positive_label(documents, label, str(labelled))
        return ConceptProbe.train(
            run.reader, documents, label or labelled.stem, seed=seed,
            has=lambda one: sought in one.labels, lacks=lambda one: sought not in one.labels,
        )  # fmt: skip
    return None


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
    low, high = tested.interval
    told = (
        f"on the texts that did not choose {chosen:g}x its echo is {tested.effect:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}), and that of random features up to {tested.controls[1]:.3f}"
    )
    if calibration.recommended is None:
        return f"[bold]#{number} does not steer[/]: {told}."
    command = escape(f'semascope steer {run} -f {number}={calibration.recommended:g}x "…"')
    return f"[bold]#{number} steers, at {calibration.recommended:g}x[/]: {told}. Next: [cyan]{command}[/]"


def _show_concept(calibration: Calibration, found: OnConcept) -> None:
    """The concept's score at each strength, and what the texts that did not choose one say of it."""
    table = Table(box=None, padding=(0, 1))
    for name in ("", "Score", "Random"):
        table.add_column(name, justify="right", no_wrap=True, style="bold cyan" if name == "Score" else "")
    table.add_row("0", f"{found.untouched:+.2f}", "")
    table.add_row("ask", f"{found.asked:+.2f}", "")
    for level, score, (low, high) in zip(calibration.levels, found.scores, found.controls, strict=True):
        table.add_row(f"{level.strength:g}x", f"{score:+.2f}", f"{low:+.2f} to {high:+.2f}")
    console.print(f"[bold]How far what was written is about: {escape(found.name)}[/]")
    console.print(table)
    number, tested = calibration.feature, found.tested
    if tested is None:
        console.print(f"[bold]#{number} does not steer towards it[/]: at every strength the damage is too large.")
    else:
        low, high = tested.interval
        console.print(
            f"[bold]#{number} {'steers' if found.recommended else 'does not steer'} towards it[/]: on the texts that "
            f"did not choose {found.chosen:g}x the score is {tested.effect:+.2f} (95 % interval {low:+.2f} to "
            f"{high:+.2f}), and that of random features up to {tested.controls[1]:+.2f}."
        )
    console.print(
        "[dim]Score: what a probe on raw activations says when the untouched model reads what was written; 0 as in "
        f"labelled texts without the concept, 1 as in those with it. Its AUC on such texts is {found.probe_auc:.2f}.[/]"
    )


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
