"""semascope serve: runs in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console

LOCAL = "127.0.0.1"


def serve(
    runs: Annotated[list[Path], typer.Argument(help="The folders of runs that have an index.")],
    host: Annotated[
        str, typer.Option(help="The address to listen at; another than this machine's own needs a token.")
    ] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Read, search, label and compare features in a browser. Ctrl-C ends it.

    Nobody but this machine is answered, unless --host says so; then the address that is printed holds a token.

    Example: `semascope serve runs/demo --open`
    """  # fmt: skip
    serve_at(runs, host=host, port=port, open_browser=open_browser)


def serve_at(runs: Sequence[Path], *, host: str, port: int, open_browser: bool) -> None:
    """Serve runs, say where, and open a browser if that is wanted."""
    import webbrowser

    from semascope import server

    def ready(address: str) -> None:
        names = ", ".join(map(str, runs))
        console.print(f"{escape(names)} at [cyan]{escape(address)}[/]  [dim]Ctrl-C ends it[/]", soft_wrap=True)
        if open_browser:
            webbrowser.open(address)

    server.serve(runs, host=host, port=port, ready=ready)
