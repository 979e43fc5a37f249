"""The HTTP application, put together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from semascope.server import (
    around,
    attribution,
    completeness,
    concepts,
    contexts,
    corpus,
    counterparts,
    features,
    lens,
    lists,
    maps,
    notes,
    runs,
    steering,
)
from semascope.server.page import FOLDER, page_router
from semascope.server.problems import tell_problems
from semascope.server.security import Access, Guard
from semascope.server.served import Served
from semascope.server.work import ModelWorker


def create_app(served: Served, access: Access = Access(), *, page: Path = FOLDER) -> FastAPI:
    """The application for some runs, which it closes when it ends; ``page``: the folder of the built page."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        app.state.worker.close()
        served.close()

    app = FastAPI(
        title="Semascope",
        version=version("semascope"),
        description="Runs of Semascope: their features, read, searched and annotated.",
        lifespan=lifespan,
        docs_url=None,  # Their pages would load scripts from other hosts.
        redoc_url=None,
        openapi_url="/api/openapi.json",
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.served, app.state.worker = served, ModelWorker()
    api = APIRouter(prefix="/api")
    for resource in (
        runs, features, around, contexts, corpus, counterparts, maps, notes, lists, lens, steering, attribution,
        concepts, completeness,
    ):  # fmt: skip
        api.include_router(resource.router)
    app.include_router(api)
    app.include_router(page_router(page))
    app.add_middleware(Guard, access=access)
    tell_problems(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
