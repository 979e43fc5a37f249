"""semascope find: the features for something, by texts, by prompts, by a direction, or by a next token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.terminal import RichReporter, console, errors
from semascope.errors import ConfigError
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.features import FeatureIndex
    from semascope.records import Document
    from semascope.runs import Run


def find(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]...", help="Texts that all have what is looked for.")
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="A prompt that does not have it; may be given several times.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With one prompt: a next token; what makes the model say it is looked for.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The token that the target is compared with.")] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="A JSONL, JSON, CSV or Parquet file with texts and their labels.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label to look for; without it, the one that says yes.")] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column of the labels.")] = "label",
    positive: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file (or folder) of texts that have it.")
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="FILE", help="And of texts that do not.")] = None,
    like: Annotated[int | None, typer.Option(metavar="FEATURE", help="A feature whose neighbours are wanted.")] = None,
    direction: Annotated[
        bool,
        typer.Option(
            "--direction", help="With labelled texts: rank by nearness to the difference of their means, not by AUC."
        ),
    ] = False,
    top: Annotated[int, typer.Option(help="How many features to show.", min=1)] = 10,
    texts: Annotated[int, typer.Option(help="At most so many labelled texts of each kind.", min=8)] = 200,
    tokens: Annotated[int, typer.Option(help="Labelled texts are cut to so many tokens.", min=2)] = 64,
    seed: Annotated[int, typer.Option(help="Draws the texts and their halves.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Find the features for something.

    By prompts: features that fire on all of them, and on none of those given with --minus. With --target: by
    attribution of the logit difference. By labelled texts (--labelled, or --positive and --negative): half of them
    rank the features, the other half scores them. By a feature (--like): its nearest neighbours.

    Example: `semascope find runs/demo "She flew to Paris" "Paris in spring" --minus "She flew to Rome"`
    """
    from semascope.features import FeatureIndex
    from semascope.runs import Run
    from semascope.text import POSITIVE, positive_label, read_labelled, read_two_sides

    by_texts = labelled is not None or positive is not None or negative is not None
    if sum([bool(prompts), by_texts, like is not None]) != 1:
        raise ConfigError(
            "features are found by prompts, by labelled texts (--labelled, or --positive and --negative) or by a "
            "feature (--like): give one of them"
        )
    if labelled is not None and (positive or negative):
        raise ConfigError("--labelled has both kinds of text in one file, --positive and --negative in two: give one")
    if by_texts and labelled is None and (positive is None or negative is None):
        raise ConfigError("--positive and --negative belong together: give a file of each")
    if (minus or target is not None) and not prompts:
        raise ConfigError("--minus and --target are for prompts: give one")
    if baseline is not None and target is None:
        raise ConfigError("--baseline is what a --target is compared with: give one")
    if direction and not by_texts:
        raise ConfigError("--direction is that between labelled texts: give some, or the neighbours of --like FEATURE")
    opened = Run.open(run)
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        if labelled is not None:
            documents = read_labelled(labelled, text_column=text_column, label_column=label_column)
            found = _by_texts(
                opened, documents, positive_label(documents, label, str(labelled)), top, texts, tokens, direction, seed
            )
        elif positive is not None and negative is not None:
            documents = read_two_sides(positive, negative, text_column=text_column)
            found = _by_texts(opened, documents, POSITIVE, top, texts, tokens, direction, seed)
        elif like is not None:
            found = _like(opened, like, top)
        elif target is not None:
            found = _by_target(opened, prompts or [], minus or [], target, baseline, top)
        else:
            found = _by_prompts(opened, prompts or [], minus or [], top)
        index = opened.features if FeatureIndex.is_complete(run / "features") else None
        if index is not None:
            _describe(found["features"], index)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        _show(found, run, described=index is not None)


def _by_texts(
    run: Run, documents: Sequence[Document], label: str, top: int, texts: int, tokens: int, direction: bool, seed: int
) -> dict[str, Any]:
    from semascope.concepts import find_by_texts

    ranking = find_by_texts(
        run.reader, documents, label, top=top, texts_each=texts, context_tokens=tokens, seed=seed,
        directions_FD=run.dictionary.reading_directions_FD if direction else None,
    )  # fmt: skip
    return {"by": "direction" if direction else "texts", "label": label, **ranking.as_json()}


def _by_prompts(run: Run, prompts: Sequence[str], minus: Sequence[str], top: int) -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    from semascope.concepts import find_by_prompts

    found = find_by_prompts(run.reader, prompts, minus, torch.from_numpy(run.features.maxima()), top=top)
    return {"by": "prompts", "prompts": prompts, "minus": minus, "features": [asdict(one) for one in found]}


def _by_target(
    run: Run, prompts: Sequence[str], minus: Sequence[str], target: str, baseline: str | None, top: int
) -> dict[str, Any]:
    from semascope.attribution import Question, attribute

    if len(prompts) != 1 or minus:
        raise ConfigError(f"a --target follows one prompt, and {len(prompts) + len(minus)} were given")
    question = Question.read(run.tokenizer, prompts[0], target, baseline)
    model = run.source.exact_model
    attribution = attribute(
        model, run.site, run.dictionary.to(model.device), question,
        output_site=run.output_site if run.config.output_site else None,
        recent_medians=run.saved.metadata["recent_medians"],
    )  # fmt: skip
    c = attribution.by_feature()
    rows = zip(c.features_N.tolist(), c.attributions_N.tolist(), c.activations_N.tolist(), strict=True)
    names = ("feature", "attribution", "activation")
    return {
        "by": "target",
        "target": target,
        "baseline": baseline,
        "logit_difference": attribution.parts.total,
        "features": [dict(zip(names, row, strict=True)) for row in list(rows)[:top]],
    }


def _like(run: Run, feature: int, top: int) -> dict[str, Any]:
    from semascope.features import nearest

    directions_FD = run.dictionary.reading_directions_FD
    if not 0 <= feature < len(directions_FD):
        raise ConfigError(f"there is no feature {feature}: the dictionary has features 0 to {len(directions_FD) - 1}")
    found = nearest(directions_FD, directions_FD[feature], top + 1)
    neighbours = [{"feature": other, "cosine": cosine} for other, cosine in found if other != feature]
    return {"by": "feature", "like": feature, "features": neighbours[:top]}


def _describe(features: list[dict[str, Any]], index: FeatureIndex) -> None:
    for one in features:
        known = index.statistics(one["feature"])
        one["density"] = known.density
        one["fires_on"] = [token.text for token in known.top_tokens]
        one["promotes"] = [token.text for token in known.promoted]


# For each way of finding: the heading, the key, and how a value is written.
_COLUMNS: dict[str, list[tuple[str, str, str]]] = {
    "texts": [("AUC", "auc", ".3f"), ("Chosen by", "chosen_by", ".3f"), ("p", "p_value", ".1g")],
    "direction": [("AUC", "auc", ".3f"), ("Cosine", "chosen_by", ".3f"), ("p", "p_value", ".1g")],
    "prompts": [
        ("Strength", "strength", ".2f"), ("Elsewhere", "elsewhere", ".2f"), ("Activation", "activation", ".1f"),
    ],
    "target": [("Attribution", "attribution", "+.3f"), ("Activation", "activation", ".1f")],
    "feature": [("Cosine", "cosine", ".3f")],
}  # fmt: skip


def _show(found: Mapping[str, Any], run: Path, *, described: bool) -> None:
    if not found["features"]:
        console.print("No feature fires on all of the prompts more than on the others. Give fewer, or shorter ones.")
        return
    columns = _COLUMNS[found["by"]]
    scored = "probe_auc" in found
    table = Table(box=None, padding=(0, 1, 0, 0), expand=described)
    if scored:
        table.add_column("")
    table.add_column("Feature", justify="right", style="magenta", no_wrap=True)
    for number, (heading, _, _) in enumerate(columns):
        table.add_column(heading, justify="right", no_wrap=True, style="" if number else "bold cyan")
    if scored:
        table.add_column("95 %", justify="right", style="dim", no_wrap=True)
    if found["by"] == "prompts":
        table.add_column("At", no_wrap=True)
    if described:
        table.add_column("Density", justify="right", no_wrap=True)
        table.add_column("Fires on", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in found["features"]:
        row = ["✓" if one["exists"] else "✗"] if scored else []
        row += [f"#{one['feature']}", *(format(one[key], form) for _, key, form in columns)]
        if scored:
            low, high = one["interval"]
            row.append(f"{low:.2f}–{high:.2f}")
        if found["by"] == "prompts":
            row.append(escape(repr(one["token"])[1:-1]))
        if described:
            row += [f"{one['density']:.2%}", escape("  ".join(repr(text)[1:-1] for text in one["fires_on"][:6]) or "–")]
        table.add_row(*row)
    console.print(table)
    if scored:
        _print_comparison(found)
    if found["by"] == "target":
        console.print(
            f"[dim]of a logit difference of {found['logit_difference']:+.2f}; 'semascope attribute' ablates[/]"
        )
    if not described:
        console.print(f"[dim]What features fire on: after 'semascope index {escape(str(run))}'.[/]")


def _print_comparison(found: Mapping[str, Any]) -> None:
    from semascope.concepts import LEAST_AUC, LEVEL

    console.print(
        f"Probe on raw activations [bold cyan]{found['probe_auc']:.3f}[/], the best feature of an untrained dictionary "
        f"{found['untrained_auc']:.3f}, a random feature {found['random_feature_auc']:.3f}; {found['positives']} texts "
        f"with '{escape(found['label'])}', {found['negatives']} without."
    )
    console.print(
        "[dim]AUC, interval and p are of the half of the texts that did not rank; p is corrected for the "
        f"{found['features_tried']:,} features tried. ✓ AUC at least {LEAST_AUC}, p at most {LEVEL}, and the interval "
        "above the untrained dictionary's AUC.[/]"
    )
