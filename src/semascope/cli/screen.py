"""What people read in a terminal: figures, and texts with their activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from semascope.cli.terminal import console
from semascope.config import RunConfig
from semascope.features import Example, FeatureStatistics, WeightedToken
from semascope.text import Tokenizer, pieces

# What stands before a context: its activation and its fold count.
_MARGIN = 14

# From faint to strong, as backgrounds that keep black text readable in dark and light terminals.
_HEAT = ("#fff3d6", "#ffe0a3", "#ffc766", "#ffa53d", "#ff7a1a")


def figures(evaluation: Mapping[str, Any]) -> Group:
    """The numbers that say how good a dictionary is."""
    e = evaluation
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(justify="right", style="bold cyan", no_wrap=True)
    grid.add_column(style="dim")

    def between(name: str) -> str:
        low, high = e[f"{name}_interval"]
        return f"95 % interval {low:.3f} to {high:.3f}"

    grid.add_row("Explained variance", f"{e['explained_variance']:.3f}", between("explained_variance"))
    grid.add_row("Features a token (L0)", f"{e['l0']:.1f}", f"of {e['features']:,}")
    grid.add_row("Dead features", f"{e['dead_fraction']:.2%}", f"silent for {e['dead_counted_over_tokens']:,} tokens")
    grid.add_row("Cross-entropy recovered", f"{e['ce_recovered']:.3f}", between("ce_recovered"))
    grid.add_row("Cross-entropy", f"{e['ce_clean']:.3f}", "nats a token, of the model itself")
    grid.add_row("  through the dictionary", f"{e['ce_spliced']:.3f}", f"KL to the model {e['kl']:.3f}")
    grid.add_row("  with the mean instead", f"{e['ce_mean_ablated']:.3f}")
    where = f"{e['model']}, {e['site']}, on {e['tokens']:,} held-out tokens (cross-entropy on {e['ce_tokens']:,})"
    return Group(Text(where, style="dim"), grid)


def comparison(evaluated: Sequence[tuple[str, RunConfig, Mapping[str, Any]]]) -> Table:
    """Dictionaries side by side: name, settings, evaluation."""
    table = Table(box=None, padding=(0, 1), title="Dictionaries", title_justify="left", title_style="bold")
    table.add_column("Run", style="bold", no_wrap=True)
    for name in ("Features", "L0 asked", "L0", "Explained variance", "CE recovered", "Dead"):
        table.add_column(name, justify="right", style="bold cyan" if name == "Explained variance" else "")
    for name, config, e in evaluated:
        asked = config.training.variant.target_l0()
        table.add_row(
            escape(name), f"{e['features']:,}", f"{asked:g}" if asked else "–", f"{e['l0']:.1f}",
            f"{e['explained_variance']:.3f}", f"{e['ce_recovered']:.3f}", f"{e['dead_fraction']:.2%}",
        )  # fmt: skip
    return table


def knowledge(concepts: Sequence[Mapping[str, Any]]) -> Table:
    """The table "what it knows"."""
    table = Table(title="What it knows", title_justify="left", title_style="bold", box=None, padding=(0, 1))
    table.add_column("Concept", style="bold")
    table.add_column("")
    table.add_column("Feature", justify="right", style="magenta")
    table.add_column("AUC", justify="right", style="bold cyan")
    table.add_column("95 % interval", justify="right", style="dim", no_wrap=True)
    table.add_column("Probe", justify="right")
    table.add_column("Untrained", justify="right")
    table.add_column("Texts", justify="right", style="dim", no_wrap=True)
    for c in concepts:
        low, high = c["interval"]
        table.add_row(
            escape(c["concept"]), "✓" if c["exists"] else "✗", f"#{c['feature']}", f"{c['auc']:.3f}",
            f"{low:.2f} to {high:.2f}", f"{c['probe_auc']:.3f}", f"{c['untrained_auc']:.3f}",
            f"{c['positives']} + {c['negatives']}",
        )  # fmt: skip
    return table


def highlighted(example: Example, tokenizer: Tokenizer, maximum: float) -> Text:
    """A context on one line, its background the stronger the stronger the feature is; cut to keep the peak in sight."""
    line, peak_ends = Text(), 0
    for piece in pieces(example.tokens, tokenizer):
        value = max(example.values[piece.start : piece.stop])
        text = piece.text.replace("\r", "").replace("\n", "↵").replace("\t", "→")
        line.append(text, style=f"black on {_HEAT[min(4, int(5 * value / maximum))]}" if value > 0 else "")
        if piece.start <= example.position - example.start < piece.stop:
            peak_ends = len(line)
    room = max(20, console.width - _MARGIN)
    first = max(0, min(peak_ends - 2 * room // 3, len(line) - room))
    return line[first : first + room]


def print_example(example: Example, tokenizer: Tokenizer, maximum: float) -> None:
    """Print a context with its strongest activation, and how many near-duplicates it stands for."""
    folded = f"×{example.count}" if example.count > 1 else ""
    console.print(
        Text.assemble((f"{example.value:>8.1f} {folded:<4}", "dim"), highlighted(example, tokenizer, maximum))
    )


def histogram(counts: Sequence[int]) -> str:
    """Counts as a row of blocks, the largest count a full one."""
    largest = max(counts, default=0) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * n // largest)] for n in counts)


def token_list(tokens: Sequence[WeightedToken], n: int = 6) -> str:
    """The texts of the first ``n`` tokens, spaces and control characters visible."""
    return "  ".join(repr(one.text)[1:-1] for one in tokens[:n]) or "–"


def add_token_columns(table: Table) -> None:
    """The columns that `token_cells` fills: they share what room the others leave."""
    for name in ("Fires on", "Promotes"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)


def token_cells(statistics: FeatureStatistics) -> list[str]:
    """What a feature fires on and what it promotes, as cells of a table."""
    return [escape(token_list(tokens)) for tokens in (statistics.top_tokens, statistics.promoted)]
