"""The browser application: files that the package brings along."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"

_NOT_BUILT = """\
The page of this server has not been built, as it is when Semascope is installed. In a copy of its repository run

    make web

and load this page again. The API is there: /api/runs
"""


def page_router(folder: Path = FOLDER) -> APIRouter:
    """Routes to the files in ``folder``; the page itself keeps its address behind a '#'."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=folder, check_dir=False)

    @router.get("/api/{path:path}")
    def no_such_resource(path: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        raise HTTPException(404, f"the API has nothing at /api/{path}: /api/openapi.json tells what it has")

    @router.get("/{path:path}")
    async def file(path: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        if not (folder / "index.html").is_file():
            return PlainTextResponse(_NOT_BUILT, 404)
        try:
            answer = await files.get_response(path or "index.html", request.scope)
        except StarletteHTTPException:
            if Path(path).suffix:
                raise
            return RedirectResponse(request.scope.get("root_path", "") + "/", 307)
        # Names of assets change with what is in them.
        hashed = path.startswith("assets/")
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return answer

    return router
