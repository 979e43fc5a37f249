"""The server as a process: its address, and how it begins and ends."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn

from semascope.errors import UnavailableError
from semascope.server.app import create_app
from semascope.server.security import Access
from semascope.server.served import Served

_SECONDS_TO_END = 1


def serve(runs: Sequence[Path], *, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve runs until somebody presses Ctrl-C.

    ``port``: 0 takes any that is free. ``ready`` is called with the address when the server listens. Raises
    UnavailableError when the address cannot be had, DamagedError when a run has no index.
    """
    with _listening(host, port) as listening:
        served, access = Served(runs), Access.bound_to(host)
        config = uvicorn.Config(
            create_app(served, access),
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_SECONDS_TO_END,
        )
        shown = f"[{host}]" if ":" in host else host
        token = f"?token={access.token}" if access.token else ""
        ready(f"http://{shown}:{listening.getsockname()[1]}/{token}")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
            found.listen()
        except OSError:
            found.close()
            raise
        return found
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"port {port} is in use, perhaps by another 'semascope serve': stop that one, or choose another port "
                "with --port (0 takes any that is free)"
            ) from error
        raise UnavailableError(
            f"the server cannot listen at {host}, port {port} ({error}): choose another --host or --port"
        ) from error
