"""Answers that stay the same as long as a file does: a browser asks whether they do, and gets them once."""

from __future__ import annotations

from fastapi import Depends, HTTPException, Request, Response

from semascope.features import FeatureMap
from semascope.server.parameters import Run
from semascope.server.problems import not_found
from semascope.server.served import ServedRun


def _kept_with_the_index(run: Run, request: Request, response: Response) -> None:
    _kept(run.version, request, response)


def _kept_with_the_map(run: Run, request: Request, response: Response) -> None:
    if not FeatureMap.exists(run.index):
        raise no_map(run)
    _kept(f"{run.version}-{FeatureMap.made_at(run.index):x}", request, response)


def no_map(run: ServedRun) -> HTTPException:
    """What is told where no map was made."""
    return not_found(
        f"'{run.name}' has no map yet: make one with 'semascope index {run.run.folder} --map', then try again"
    )


def _kept(version: str, request: Request, response: Response) -> None:
    headers = {"ETag": f'"{version}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("If-None-Match", ""):
        raise HTTPException(304, headers=headers)
    response.headers.update(headers)


KEPT_WITH_THE_INDEX = Depends(_kept_with_the_index)
"""A dependency of routes whose answers depend on nothing but their address and the index."""

KEPT_WITH_THE_MAP = Depends(_kept_with_the_map)
"""The same for what depends on the index and its map; 404 when there is no map."""
