"""Work that needs the language model: one piece at a time, in a thread of its own, and only so much waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException, Request

T = TypeVar("T")

_MOST_WAITING = 8


class ModelWorker:
    """Runs pieces of work one after another, off the event loop.

    A piece whose client goes away is not begun, if it still waits; one that runs is finished and thrown away.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._waiting = 0

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """What the work returns. Raises HTTPException 429 when too much waits already, 499 when the client is gone."""
        if self._waiting >= _MOST_WAITING:
            raise HTTPException(
                429, f"the model has {self._waiting} texts to read before this one: try again", {"Retry-After": "2"}
            )
        self._waiting += 1
        result = asyncio.wrap_future(self._thread.submit(work))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise HTTPException(499, "the client went away")
            return result.result()
        finally:
            gone.cancel()
            result.cancel()
            self._waiting -= 1

    def close(self) -> None:
        """Begin nothing more, and do not wait for what runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
