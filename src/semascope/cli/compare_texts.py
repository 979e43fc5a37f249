"""semascope compare-texts: features that fire more in one corpus than in another."""

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
from semascope.progress import shown_by

if TYPE_CHECKING:
    from semascope.features import FeatureIndex
    from semascope.records import Document


def compare_texts(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    one: Annotated[str, typer.Argument(metavar="A", help="A file, a folder or a dataset of texts.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The texts that it is compared with.")],
    field: Annotated[str | None, typer.Option(help="The column of the texts.")] = None,
    top: Annotated[int, typer.Option(help="How many features to show for each side.", min=1)] = 10,
    texts: Annotated[int, typer.Option(help="At most so many texts of each.", min=8)] = 500,
    tokens: Annotated[int, typer.Option(help="Texts are cut to so many tokens.", min=2)] = 64,
    level: Annotated[
        float, typer.Option(help="The false discovery rate: of the features shown, so many differ by chance.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Draws the texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Find the features that fire in more texts of one corpus than of another.

    Texts are counted, not tokens. A text counts for a feature when it fires on a larger share of its tokens than in the
    median text; for most features, when it fires at all. Fisher's exact test, corrected for all features tested.

    Example: `semascope compare-texts runs/demo mine.jsonl theirs.jsonl`
    """
    from semascope.concepts import compare_texts as compared
    from semascope.features import FeatureIndex
    from semascope.runs import Run

    opened = Run.open(run)
    with shown_by(RichReporter(errors)) if as_json else nullcontext():
        sides = [_drawn(source, field, texts, seed) for source in (one, other)]
        found = compared(opened.reader, *sides, context_tokens=tokens, level=level).as_json()
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.print(
        f"A: {found['texts']} texts of {escape(one)}, {found['tokens']:.0f} tokens each; "
        f"B: {found['other_texts']} of {escape(other)}, {found['other_tokens']:.0f} each"
    )
    index = opened.features if FeatureIndex.is_complete(run / "features") else None
    differences: Any = found["differences"]
    for title, sign in (("More in A", 1), ("More in B", -1)):
        here = [row for row in differences if row["difference"] * sign > 0]
        console.print()
        console.print(_table(f"{title}: {len(here)} of {found['tested']:,} features tested", here[:top], index))
    console.print(f"[dim]q: p corrected for all features tested (Benjamini and Hochberg); shown up to {level:g}.[/]")


def _drawn(source: str, field: str | None, most: int, seed: int) -> Sequence[Document]:
    """Each text once, in random order."""
    from itertools import islice

    from semascope.text import read_documents, shuffled

    distinct = {document.id: document for document in read_documents(source, field=field)}
    return list(islice(shuffled(distinct.values(), seed=seed), most))


def _table(title: str, rows: Sequence[Mapping[str, Any]], index: FeatureIndex | None) -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold", expand=index is not None
    )
    table.add_column("Feature", justify="right", style="magenta", no_wrap=True)
    for name in ("A", "B"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Difference", justify="right", style="bold cyan", no_wrap=True)
    table.add_column("95 %", style="dim", no_wrap=True)
    table.add_column("q", justify="right", no_wrap=True)
    if index is not None:
        table.add_column("Fires on", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        low, high = row["interval"]
        cells = [
            f"#{row['feature']}", f"{row['share']:.0%}", f"{row['other_share']:.0%}", f"{row['difference']:+.0%}",
            f"{low:+.0%} to {high:+.0%}", f"{row['q_value']:.1g}",
        ]  # fmt: skip
        if index is not None:
            known = index.statistics(row["feature"])
            cells.append(escape("  ".join(repr(token.text)[1:-1] for token in known.top_tokens[:6]) or "–"))
        table.add_row(*cells)
    return table
