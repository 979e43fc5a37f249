"""Errors as the API tells them: `{"detail": "…"}` with a status of 400 or above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from semascope.errors import InputError, MismatchError, SemascopeError, UnavailableError


class Problem(BaseModel):
    """What was given, what was expected, and what to do."""

    detail: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The statuses, beside success, that a route documents."""
    return {status: {"model": Problem} for status in statuses}


def not_found(detail: str) -> HTTPException:
    """What a route raises when the address names something that is not there."""
    return HTTPException(404, detail)


def tell_problems(app: FastAPI) -> None:
    """Make every error of the app a `Problem`."""
    app.add_exception_handler(StarletteHTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(SemascopeError, _answer)


def _answer(_: Request, error: Exception) -> Response:
    headers = None
    match error:
        case StarletteHTTPException(status_code=304):
            return Response(status_code=304, headers=error.headers)
        case StarletteHTTPException():
            status, detail, headers = error.status_code, str(error.detail), error.headers
        case RequestValidationError():
            status, detail = 422, "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors())
        case InputError():
            status, detail = 422, str(error)
        case MismatchError():
            status, detail = 409, str(error)
        case UnavailableError():
            status, detail = 503, str(error)
        case _:
            status, detail = 500, str(error)
    return JSONResponse({"detail": detail}, status, headers)


def _place(location: Sequence[int | str]) -> str:
    """Where in a request something is wrong; first comes its part, such as the body, which the rest implies."""
    return ".".join(map(str, location[1:])) or "the request"
