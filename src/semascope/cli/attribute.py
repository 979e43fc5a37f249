"""semascope attribute: which features make the model say a token, and what becomes of it without them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import RichReporter, console, errors
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.attribution import Agreement, Explanation
    from semascope.features import FeatureIndex
    from semascope.text import Tokenizer


class Row(StrEnum):
    """What one row of the table is."""

    place = "place"
    feature = "feature"


def attribute(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    prompt: Annotated[str, typer.Argument(help="A text that the model is to go on with.")],
    target: Annotated[str, typer.Option(help="The next token to explain, with its space: ' Sacramento'.")],
    baseline: Annotated[
        str | None, typer.Option(help="The token that it is compared with; without one, the mean of all.")
    ] = None,
    first_token: Annotated[
        bool, typer.Option("--first-token", help="Of a target or baseline of several tokens, take the first.")
    ] = False,
    by: Annotated[
        Row, typer.Option(help="Each feature at each position by itself, or each feature over all positions.")
    ] = Row.place,
    top: Annotated[int, typer.Option(help="How many rows to show.", min=1)] = 20,
    ablate: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many to ablate, to compare with attribution: all, or a random sample where there are more; the "
            "rows shown besides. 0 for none.",
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Explain a next token by features: attribution, and what the logit difference loses without each of them.

    The attribution of a feature is its activation times the slope of the logit difference along its direction. Ablation
    sets it to 0 and runs the model on. Both are positive for what speaks for the target; exchange target and baseline
    to see what speaks for the other.

    Example: `semascope attribute runs/demo "The opposite of hot is" --target " cold" --baseline " warm"`
    """
    from semascope.attribution import Question
    from semascope.features import FeatureIndex
    from semascope.runs import Run, explaining

    opened = Run.open(run)
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        question = Question.read(opened.tokenizer, prompt, target, baseline, first_token=first_token)
        *_, explanation = explaining(opened, question, by=by.value, ablations=ablate, top=top, seed=seed)
    index = opened.features if FeatureIndex.is_complete(run / "features") else None
    if as_json:
        typer.echo(
            json.dumps(_with_descriptions(explanation.as_json(opened.tokenizer), index, top), ensure_ascii=False)
        )
        return
    _print_predictions(explanation, opened.tokenizer)
    _print_parts(explanation)
    console.print(_contributions(explanation, opened.tokenizer, index, top))
    if index is None:
        console.print(f"[dim]What features fire on: after 'semascope index {escape(str(run))}'.[/]")
    if ablate:
        _print_agreement(explanation)


def _print_predictions(explanation: Explanation, tokenizer: Tokenizer) -> None:
    from semascope.text import token_text

    def shown(token: int) -> str:
        return f"[bold]{escape(repr(token_text(token, tokenizer)))}[/]"

    likely = "  ".join(f"{shown(one.token)} {one.probability:.1%}" for one in explanation.attribution.predictions())
    console.print(f"The model goes on with  {likely}", soft_wrap=True)
    question = explanation.attribution.question
    for role, token in (("Target", question.target), ("Baseline", question.baseline)):
        if token is None:
            console.print(f"{role:<9} the mean logit of all tokens")
        else:
            one = explanation.attribution.prediction(token)
            console.print(f"{role:<9} {shown(token)} {one.probability:.2%}, its choice number {one.rank:,}")


def _print_parts(explanation: Explanation) -> None:
    parts = explanation.attribution.parts
    named = {
        "features": parts.features,
        "decoder bias": parts.bias,
        "skip connection": parts.skip,
        "error": parts.error,
        "positions left out": parts.left_out,
        "not linear": parts.rest,
    }
    console.print(
        f"Logit difference [bold cyan]{parts.total:+.2f}[/] = "
        + "  ".join(f"{value:+.2f} [dim]{name}[/]" for name, value in named.items() if value),
        soft_wrap=True,
    )
    console.print()


def _contributions(explanation: Explanation, tokenizer: Tokenizer, index: FeatureIndex | None, top: int) -> Table:
    from semascope.cli.screen import add_token_columns, token_cells

    found = explanation.as_json(tokenizer)["contributions"]
    table = Table(box=None, padding=(0, 1), expand=index is not None)
    # Two lines of headers leave room, in a narrow terminal, for what the features fire on and promote.
    for name in ("\nFeature", "Posi-\ntion", "\nToken", "Acti-\nvation", "Attri-\nbution", "Abla-\ntion"):
        style = "bold cyan" if name.startswith("Attri") else None
        table.add_column(name, justify="left" if "Token" in name else "right", no_wrap=True, style=style)
    if index is not None:
        add_token_columns(table)
    for one in found[:top]:
        more = f" +{one['places'] - 1}" if one["places"] > 1 else ""
        ablation = "" if one["ablation"] is None else f"{one['ablation']:+.3f}"
        row = [
            f"[magenta]#{one['feature']}[/]", f"{one['position']}{more}", escape(repr(one["token"])[1:-1]),
            f"{one['activation']:.1f}", f"{one['attribution']:+.3f}", ablation,
        ]  # fmt: skip
        if index is not None:
            row += token_cells(index.statistics(one["feature"]))
        table.add_row(*row)
    return table


def _print_agreement(explanation: Explanation) -> None:
    ablated = explanation.ablated
    n = len(explanation.contributions)
    what = "features" if explanation.by == "feature" else "active features at their positions"
    which = f"all {n:,}" if ablated.complete else f"{len(ablated.compared_M):,} of {n:,}, by chance,"
    console.print(f"\nCompared with ablation, over {which} {what}:")
    table = Table(box=None, padding=(0, 1))
    table.add_column("")
    for name in ("Pearson", "95 % interval", "Spearman", "Of the top"):
        table.add_column(name, justify="right", style="bold cyan" if name == "Pearson" else None)
    for name, one in (("Attribution", explanation.of_attribution), ("Activation", explanation.of_activation)):
        table.add_row(name, *_agreement_values(one))
    console.print(table)


def _agreement_values(one: Agreement) -> list[str]:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    low, high = one.pearson_interval or (None, None)
    shared = "–" if one.shared_top is None else f"{one.shared_top} of {one.top}"
    return [number(one.pearson), f"{number(low)} to {number(high)}", number(one.spearman), shared]


def _with_descriptions(found: dict[str, Any], index: FeatureIndex | None, top: int) -> dict[str, Any]:
    """The first ``top`` contributions also say what their features fire on and promote."""
    if index is not None:
        for one in found["contributions"][:top]:
            known = index.statistics(one["feature"])
            one["fires_on"] = [token.text for token in known.top_tokens]
            one["promotes"] = [token.text for token in known.promoted]
    return found
