"""Answers that are told line by line, as JSON, while the work goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

Event = TypeVar("Event", bound=BaseModel)

_LINES = "application/x-ndjson"


class Lines(StreamingResponse):
    """Events, a line each, which are asked for no longer as soon as nobody receives them."""

    def __init__(self, events: AsyncGenerator[Event]) -> None:
        self._lines = _written(events)
        super().__init__(self._lines, media_type=_LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._lines):
            await super().__call__(scope, receive, send)


async def _written(events: AsyncGenerator[Event]) -> AsyncGenerator[str]:
    async with aclosing(events):
        async for event in events:
            yield event.model_dump_json() + "\n"


def lines_of(event: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What a route documents that answers with such lines.

    Records within the event are written out: a schema that is given by hand can refer to no others.
    """
    schema = event.model_json_schema()
    records = schema.pop("$defs", {})

    def whole(part: Any) -> Any:
        if isinstance(part, dict):
            name = part.get("$ref", "").removeprefix("#/$defs/")
            return whole(records[name]) if name else {key: whole(value) for key, value in part.items()}
        return [whole(one) for one in part] if isinstance(part, list) else part

    return {200: {"content": {_LINES: {"schema": whole(schema)}}}}
