"""Answers that stay the same as long as the index does: a browser asks whether they do, and gets them once."""

from __future__ import annotations

from fastapi import Depends, HTTPException, Request, Response

from semascope.server.parameters import Run


def _kept_with_the_index(run: Run, request: Request, response: Response) -> None:
    headers = {"ETag": f'"{run.version}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("If-None-Match", ""):
        raise HTTPException(304, headers=headers)
    response.headers.update(headers)


KEPT_WITH_THE_INDEX = Depends(_kept_with_the_index)
"""A dependency of routes whose answers depend on nothing but their address and the index."""
