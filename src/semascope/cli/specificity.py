"""semascope specificity: whether a feature stands for a concept, by interval of activation."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.options import AcceptLicense
from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import ConfigError
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.concepts import Specificity

_BAR = 8
_LONGEST = 200
_HIDDEN = "(hidden: the texts of this suite are offensive; --show-offensive shows them)"


def specificity(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    feature: Annotated[int, typer.Option("--feature", "-f", help="The feature.")],
    concept: Annotated[str, typer.Option(metavar="SUITE:NAME", help="The concept that it may stand for.")],
    intervals: Annotated[int, typer.Option(help="Into how many intervals its activation is divided.", min=1)] = 5,
    texts: Annotated[int, typer.Option(help="At most so many texts of each kind.", min=8)] = 200,
    tokens: Annotated[int, typer.Option(help="Texts are cut to so many tokens.", min=2)] = 64,
    examples: Annotated[int, typer.Option(help="Show so many texts of each kind, highest peaks first.", min=0)] = 0,
    show_offensive: Annotated[
        bool, typer.Option("--show-offensive", help="Show examples out of a suite whose texts are offensive.")
    ] = False,
    accept_license: AcceptLicense = None,
    seed: Annotated[int, typer.Option(help="Draws the texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show how a feature's activation is distributed over texts of a concept, of its sister concepts and of neither.

    For concepts of encyclopedia articles also in French and Spanish. Texts are held out from training, but may have
    chosen the feature: `semascope concepts` has the AUC on those that did not.

    Example: `semascope specificity runs/demo -f 7771 --concept things:Cities`
    """
    from semascope.concepts import measure_specificity, read_concept
    from semascope.features import FeatureIndex
    from semascope.runs import Run
    from semascope.text import is_held_out, wikipedia_in_other_languages

    wanted, suite = read_concept(concept)
    texts_of_suite = suite.documents(accept_license)
    opened = Run.open(run)
    features = opened.dictionary.features
    if not 0 <= feature < features:
        raise ConfigError(f"there is no feature {feature}: the dictionary has features 0 to {features - 1}")
    indexed = FeatureIndex.is_complete(run / "features")
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        fraction = opened.config.corpus.held_out_fraction
        elsewhere = wikipedia_in_other_languages() if wanted.among == "wikipedia-en" else ()
        found = measure_specificity(
            opened.reader,
            feature,
            wanted,
            opened.corpus.labelled(texts_of_suite),
            elsewhere=[document for document in elsewhere if is_held_out(document, fraction)],
            maximum=opened.features.statistics(feature).maximum if indexed else 0.0,
            intervals=intervals,
            texts_each=texts,
            context_tokens=tokens,
            examples=examples,
            seed=seed,
        )
    if suite.offensive and not show_offensive:
        found = replace(found, examples=tuple(replace(one, text=_HIDDEN) for one in found.examples))
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _show(found)


def _show(found: Specificity) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("Activation", justify="right", no_wrap=True)
    for kind, n in found.texts.items():
        table.add_column(f"{kind.capitalize()}\n[dim]of {n}[/]", justify="right", no_wrap=True)
    table.add_column("Share of\nthe concept", no_wrap=True, style="bold cyan")
    table.add_column("Sensitivity", justify="right", no_wrap=True)
    table.add_column("False\nalarms", justify="right", no_wrap=True)
    for band in found.bands:
        bar = "" if band.purity is None else f"{'█' * round(_BAR * band.purity):<{_BAR}} {band.purity:>4.0%}"
        low, high = band.sensitivity_interval
        table.add_row(
            f"{band.low:.1f} – {band.high:.1f}" if band.high else "silent",
            *(f"{n}" for n in band.counts.values()),
            bar,
            f"{band.sensitivity:.0%} [dim]({low:.0%}–{high:.0%})[/]" if band.high else "",
            f"{band.false_alarms:.1%}" if band.high else "",
        )
    console.print(f"[bold magenta]#{found.feature}[/] and [bold]{escape(found.concept)}[/], by its peak in each text")
    console.print(table)
    for kind, one in found.against.items():
        low, high = one.interval
        other = "sister concepts" if kind == "sisters" else "other texts"
        console.print(f"AUC against {other:<16}[bold cyan]{one.auc:.3f}[/] [dim]({low:.2f}–{high:.2f})[/]")
    for one in found.elsewhere:
        low, high = one.fires_interval
        against = f", AUC there {one.against.auc:.3f}" if one.against else ""
        console.print(
            f"{escape(one.source)}: fires in [bold cyan]{one.fires:.0%}[/] [dim]({low:.0%}–{high:.0%})[/] of "
            f"{one.texts} texts of the concept{against}"
        )
    for one in found.examples:
        text = " ".join(one.text.split())
        console.print(f"[dim]{one.kind:<8}[/] [bold cyan]{one.peak:>5.1f}[/] {escape(text[:_LONGEST])}", soft_wrap=True)
    console.print(
        "[dim]Share of the concept: of texts in this interval, if all kinds were equally many. Sensitivity and false "
        "alarms: how many texts with and without the concept have their peak in this interval or a higher one.[/]"
    )
