"""What people see in a terminal: progress, figures, and texts with their activations."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from semascope.features import Example, FeatureStatistics
from semascope.progress import Task
from semascope.text import Tokenizer, pieces

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

# From faint to strong, as backgrounds that keep black text readable in dark and light terminals.
_HEAT = ("#fff3d6", "#ffe0a3", "#ffc766", "#ffa53d", "#ff7a1a")


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        unit = task.fields["unit"]
        if task.finished and task.finished_time:
            done = task.completed - task.fields["before"]
            return Text(f"{done / max(task.finished_time, 1e-9):,.0f} {unit}/s", style="dim")
        return Text(f"{task.speed:,.0f} {unit}/s" if task.speed else f"{unit}", style="dim")


class _TimeLeft(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        if task.finished or task.time_remaining is None:
            return Text("")
        minutes, seconds = divmod(int(task.time_remaining), 60)
        return Text(f"{minutes}:{seconds:02d} left", style="cyan")


class _ShownTask:
    def __init__(self, bars: Progress, total: float, unit: str, name: str, done: float) -> None:
        self._bars = bars
        self._id = bars.add_task(name, total=total, completed=int(done), unit=unit, note="", before=done)

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._id, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._id, note=text)


class RichReporter:
    """Shows each task as a bar with its rate and the time left, and keeps it on the screen when it is done."""

    def __init__(self) -> None:
        self._active = False

    @contextmanager
    def task(self, name: str, *, total: float, unit: str, done: float) -> Generator[Task]:
        if self._active:  # a task within a task: the outer bar is enough
            yield _Quiet()
            return
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>10,.0f} / {task.total:,.0f}"),
            _Rate(),
            TimeElapsedColumn(),
            _TimeLeft(),
            TextColumn("[dim]{task.fields[note]}[/]"),
        )
        self._active = True
        try:
            with Progress(*columns, console=console, speed_estimate_period=20.0) as bars:
                yield _ShownTask(bars, total, unit, name, done)
        finally:
            self._active = False

    def message(self, text: str) -> None:
        console.print(f"[dim]{escape(text)}[/]")


class _Quiet:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def figures(evaluation: Mapping[str, Any]) -> Panel:
    """The numbers that say how good a dictionary is."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold")
    grid.add_column(justify="right", style="bold cyan")
    grid.add_column(style="dim")

    def between(name: str) -> str:
        low, high = evaluation[f"{name}_interval"]
        return f"95 % interval {low:.3f} to {high:.3f}"

    e = evaluation
    grid.add_row("Explained variance", f"{e['explained_variance']:.3f}", between("explained_variance"))
    grid.add_row("Features a token (L0)", f"{e['l0']:.1f}", f"of {e['features']:,}")
    dead_over = f"have not fired for {e['dead_counted_over_tokens']:,} tokens"
    grid.add_row("Dead features", f"{e['dead_fraction']:.2%}", dead_over)
    ce = f"{e['ce_clean']:.3f} clean, {e['ce_spliced']:.3f} through the dictionary, {e['ce_mean_ablated']:.3f} ablated"
    grid.add_row("Cross-entropy recovered", f"{e['ce_recovered']:.3f}", f"{between('ce_recovered')}; nats: {ce}")
    grid.add_row("KL to the model", f"{e['kl']:.3f}", "nats a token")
    title = (
        f"{e['model']}, {e['site']}: on {e['tokens']:,} tokens of held-out text (cross-entropy on {e['ce_tokens']:,})"
    )
    return Panel(grid, title=title, title_align="left", border_style="dim")


def knowledge(concepts: Sequence[Mapping[str, Any]]) -> Table:
    """The table "what it knows"."""
    table = Table(title="What it knows", title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column("Concept", style="bold")
    table.add_column("Feature", justify="right", style="magenta")
    table.add_column("AUC", justify="right", style="bold cyan")
    table.add_column("95 % interval", justify="right", style="dim")
    table.add_column("Probe", justify="right")
    table.add_column("Random feature", justify="right")
    table.add_column("Texts", justify="right", style="dim")
    for c in concepts:
        low, high = c["interval"]
        table.add_row(
            escape(c["concept"]), f"#{c['feature']}", f"{c['auc']:.3f}", f"{low:.2f} to {high:.2f}",
            f"{c['probe_auc']:.3f}", f"{c['random_feature_auc']:.3f}", f"{c['positives']} + {c['negatives']}",
        )  # fmt: skip
    return table


def highlighted(example: Example, tokenizer: Tokenizer, maximum: float) -> Text:
    """A context on one line, its background the stronger the stronger the feature is."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for piece in pieces(example.tokens, tokenizer):
        value = max(example.values[piece.start : piece.stop])
        text = piece.text.replace("\r", "").replace("\n", "↵").replace("\t", "→")
        line.append(text, style=f"black on {_HEAT[min(4, int(5 * value / maximum))]}" if value > 0 else "")
    return line


def token_list(statistics: FeatureStatistics, kind: str, n: int = 6) -> str:
    """The first tokens of a list of a feature's statistics (``top_tokens``, ``promoted``, ``suppressed``)."""
    return "  ".join(repr(one.text)[1:-1] for one in getattr(statistics, kind)[:n]) or "–"
