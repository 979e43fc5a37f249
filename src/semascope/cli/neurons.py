"""semascope neurons: whether features are more than neurons."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from semascope.cli.terminal import console
from semascope.cli.values import count

if TYPE_CHECKING:
    from semascope.features import FeatureIndex
    from semascope.runs import Run


def neurons(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    tokens: Annotated[int, typer.Option(parser=count, metavar="COUNT", help="Held-out tokens to read.")] = 100_000,
    memory: Annotated[
        float, typer.Option(help="Gigabytes for the sums; where they need more, the text is read several times.")
    ] = 2.0,
) -> None:
    """Compare every feature with every MLP neuron of the layers before it, by their correlation over tokens.

    For each feature the neuron with the highest Pearson correlation counts; up to 0.3 a feature is called unlike any
    neuron. Features that fire on fewer than 10 of the tokens are left out. Writes evaluation/neurons.json, and each
    feature's neuron into evaluation/neurons.safetensors.

    Example: `semascope neurons runs/demo --tokens 100k`
    """
    from semascope.features import FeatureIndex
    from semascope.runs import Run

    opened = Run.open(run)
    found = opened.result("neurons")
    if found is not None and found["tokens_asked"] == tokens:
        console.print("[dim]Reusing evaluation/neurons.json[/]")
    else:
        found = _measure(opened, tokens, memory)
    _print(found, opened.features if FeatureIndex.is_complete(run / "features") else None)


def _measure(run: Run, tokens: int, memory: float) -> dict[str, Any]:
    from semascope.attribution import match_neurons
    from semascope.files import write_json, write_tensors

    n_windows = -(-tokens // run.config.corpus.context_tokens)
    matches = match_neurons(
        run.model,
        run.site,
        run.dictionary.to(run.model.device),
        list(islice(run.source.windows(held_out=True), -(-n_windows // run.source.windows_per_batch))),
        recent_medians=run.saved.metadata["recent_medians"],
        memory=memory * 1e9,
    )
    found = {"tokens_asked": tokens, **matches.as_json()}
    folder = run.folder / "evaluation"
    write_tensors(
        folder / "neurons.safetensors",
        {"correlation": matches.correlations_F, "layer": matches.layers_F, "neuron": matches.neurons_F},
    )
    write_json(folder / "neurons.json", found)
    return found


def _print(found: Mapping[str, Any], index: FeatureIndex | None) -> None:
    from semascope.cli.screen import histogram

    low, high = found["share_interval"]
    first, last = found["layers"][0], found["layers"][-1]
    console.print(
        f"{found['compared']:,} of {found['features']:,} features fire on {found['fewest_active']} or more of "
        f"{found['tokens']:,} held-out tokens; compared with {found['neurons']:,} neurons of layers {first} to {last}."
    )
    console.print(
        f"[bold cyan]{found['share_at_most_threshold']:.1%}[/] of them correlate with no neuron above "
        f"{found['threshold']:g} [dim](95 % interval {low:.1%} to {high:.1%}; counting neurons that say the opposite "
        f"too, {found['share_at_most_threshold_either_sign']:.1%})[/]"
    )
    console.print(f"  best correlation   0 {histogram(found['histogram'])} 1")
    quantiles = "   ".join(f"{float(q):.0%} {value:.2f}" for q, value in found["quantiles"].items())
    console.print(f"  [dim]quantiles[/]          {quantiles}")
    by_layer = found["best_neuron_in_layer"]
    console.print(f"  best neuron's layer {first} {histogram(list(by_layer.values()))} {last}")
    for title, name in (("Most like a neuron", "most_like_a_neuron"), ("Least", "least_like_a_neuron")):
        console.print()
        console.print(_examples(title, found[name], index))


def _examples(title: str, examples: list[dict[str, Any]], index: FeatureIndex | None) -> Table:
    from semascope.cli.screen import add_token_columns, token_cells

    table = Table(
        box=None, padding=(0, 1), title=title, title_justify="left", title_style="bold", expand=index is not None
    )
    for name in ("Feature", "Correlation", "Neuron", "Tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    if index is not None:
        add_token_columns(table)
    for one in examples:
        row = [
            f"[magenta]#{one['feature']}[/]", f"{one['correlation']:.3f}", f"{one['layer']}/{one['neuron']}",
            f"{one['active']:,}",
        ]  # fmt: skip
        if index is not None:
            row += token_cells(index.statistics(one["feature"]))
        table.add_row(*row)
    return table
