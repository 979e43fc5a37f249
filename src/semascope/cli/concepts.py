"""semascope concepts: for every concept of a suite, whether a feature exists, and which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.options import AcceptLicense
from semascope.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from semascope.concepts import ConceptScore


def concepts(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    suite: Annotated[str, typer.Option(help="The name of a suite, or a YAML file of one's own.")] = "things",
    texts: Annotated[int, typer.Option(help="At most so many texts with a concept, and as many without.", min=8)] = 100,
    seed: Annotated[int, typer.Option(help="Draws the texts and their halves.")] = 0,
    accept_license: AcceptLicense = None,
) -> None:
    """Tell for every concept of a suite whether a feature exists, which, and how well it tells the concept.

    Suites: demo, things, security, languages; ai-risk, bias, danger, morality, whose texts are fetched; character and
    emotions, whose texts are under a licence that has to be accepted. The texts are the labelled ones among the run's
    held-out text, and those of the suite that were not trained on; none is shown.

    Writes evaluation/concepts-SUITE.json.

    Example: `semascope concepts runs/demo --suite security`
    """
    from semascope.concepts import read_suite, score_concepts
    from semascope.files import write_json
    from semascope.runs import Run

    asked = read_suite(suite)
    texts_of_suite = asked.documents(accept_license)
    opened = Run.open(run)
    densities = opened.features.densities()
    scores = score_concepts(
        opened.reader,
        opened.corpus.labelled(texts_of_suite),
        asked.concepts,
        texts_each=texts,
        seed=seed,
    )
    rows = [score.as_json() | {"density": float(densities[score.feature])} for score in scores]
    path = opened.folder / "evaluation" / f"concepts-{asked.name}.json"
    write_json(path, {"suite": asked.name, "offensive": asked.offensive, "seed": seed, "concepts": rows})
    _show(scores, densities)
    scored = {score.concept for score in scores}
    if missing := [concept.name for concept in asked.concepts if concept.name not in scored]:
        console.print(f"[dim]Too few held-out texts: {escape(', '.join(missing))}[/]")
    console.print(f"[dim]{escape(str(path))}[/]")


def _show(scores: Sequence[ConceptScore], densities: NDArray[np.float64]) -> None:
    from semascope.concepts import LEAST_AUC, LEVEL

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("Concept", style="bold", min_width=16)
    table.add_column("")
    table.add_column("Feature", justify="right", style="magenta", no_wrap=True)
    table.add_column("AUC", justify="right", style="bold cyan")
    table.add_column("95 %", justify="right", style="dim", no_wrap=True)
    for name in ("Sisters", "Probe", "Untrained", "Density"):
        table.add_column(name, justify="right")
    table.add_column("Texts", justify="right", style="dim", no_wrap=True)
    for one in scores:
        low, high = one.interval
        table.add_row(
            escape(one.concept), "✓" if one.exists else "✗", f"#{one.feature}", f"{one.auc:.3f}",
            f"{low:.2f}–{high:.2f}", "–" if one.specificity is None else f"{one.specificity:.3f}",
            f"{one.probe_auc:.3f}", f"{one.untrained_auc:.3f}", f"{densities[one.feature]:.2%}",
            f"{one.positives}+{one.negatives}",
        )  # fmt: skip
    console.print(table)
    tried = max(one.features_tried for one in scores)
    console.print(
        f"[dim]✓ a feature exists: its AUC on texts that did not choose it is at least {LEAST_AUC}, with a p-value of "
        f"at most {LEVEL} corrected for the features tried (up to {tried:,}), and its interval is above the AUC of the "
        "best of as many random directions (Untrained). Sisters: AUC against texts of neighbouring concepts. Probe: "
        "difference of means on the raw activations.[/]"
    )
