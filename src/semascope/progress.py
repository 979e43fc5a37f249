"""Progress of long work: the library reports it here, and whoever has a screen decides how to show it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol


class Task(Protocol):
    """One long piece of work under way."""

    def advance(self, amount: float = 1) -> None:
        """Count ``amount`` more units as done."""
        ...

    def note(self, text: str) -> None:
        """Show a short remark beside the progress, such as the current loss."""
        ...


class Reporter(Protocol):
    """Shows the progress of tasks to a person."""

    def task(self, name: str, *, total: float, unit: str, done: float) -> AbstractContextManager[Task]:
        """Start showing a task of ``total`` units of which ``done`` were done before."""
        ...

    def message(self, text: str) -> None:
        """Show a line of text, such as what is reused from an earlier run."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class SilentReporter:
    """Shows nothing: the default for a library."""

    @contextmanager
    def task(self, name: str, *, total: float, unit: str, done: float) -> Generator[Task]:
        yield _SilentTask()

    def message(self, text: str) -> None:
        pass


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=SilentReporter())  # noqa: B039  # it has no state


def task(name: str, *, total: float, unit: str, done: float = 0) -> AbstractContextManager[Task]:
    """Report a long task: ``with task("Harvest", total=n, unit="tokens") as progress: progress.advance(64)``."""
    return _reporter.get().task(name, total=total, unit=unit, done=done)


def message(text: str) -> None:
    """Tell the person something that is worth a line."""
    _reporter.get().message(text)


@contextmanager
def shown_by(reporter: Reporter) -> Generator[None]:
    """Send all progress reported inside the block to ``reporter``."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
