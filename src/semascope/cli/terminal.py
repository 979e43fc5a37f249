"""The terminal itself: where lines go, and how progress is shown."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Task as RichTask
from rich.table import Column
from rich.text import Text

from semascope.progress import Task

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


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

    def __init__(self, screen: Console = console) -> None:
        self._screen = screen
        self._active = False

    @contextmanager
    def task(self, name: str, *, total: float, unit: str, done: float) -> Generator[Task]:
        if self._active:  # a task within a task: the outer bar is enough
            yield _Quiet()
            return
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=24)),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(table_column=Column(no_wrap=True, min_width=16, justify="right")),
            TimeElapsedColumn(),
            _TimeLeft(table_column=Column(no_wrap=True)),
            TextColumn("[dim]{task.fields[note]}[/]", table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        self._active = True
        try:
            with Progress(*columns, console=self._screen, speed_estimate_period=20.0) as bars:
                yield _ShownTask(bars, total, unit, name, done)
        finally:
            self._active = False

    def message(self, text: str) -> None:
        self._screen.print(f"[dim]{escape(text)}[/]")


class _Quiet:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass
