"""Work that needs the language model: one piece at a time, in a thread of its own, and only so much waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

from fastapi import HTTPException, Request

T = TypeVar("T")

MOST_WAITING = 8
_CLIENT_GONE = 499  # nobody reads it; a status has to be given
_END = object()


class ModelWorker:
    """Runs pieces of work one after another, off the event loop.

    A piece whose client goes away is not begun if it still waits; one that runs already ends by itself, and what it
    gives is thrown away. The thread is a daemon: a server that is stopped waits for nothing.
    """

    def __init__(self) -> None:
        self._pieces: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._n_waiting = 0
        self._thread: Thread | None = None

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """What the work returns. Raises HTTPException 429 when too much waits already."""
        if self._n_waiting >= MOST_WAITING:
            raise HTTPException(
                429, f"{self._n_waiting} texts wait for the model already: try again in a moment", {"Retry-After": "2"}
            )
        with self._queued(work) as result:
            gone = asyncio.create_task(_disconnected(request))
            try:
                await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not result.done():
                    raise HTTPException(_CLIENT_GONE, "the client went away")
                return result.result()
            finally:
                gone.cancel()

    async def stream(self, request: Request, begin: Callable[[], Generator[T]]) -> AsyncGenerator[T]:
        """What the work that ``begin`` starts gives, as it comes; whoever closes this stops the work.

        Other work has its turn between two of these. Raises, before the first, what ``begin`` raises and what `run`
        does.
        """
        return self._each(await self.run(request, begin))

    async def _each(self, results: Generator[T]) -> AsyncGenerator[T]:
        try:
            while True:
                with self._queued(lambda: next(results, _END)) as coming:
                    result = await coming
                if result is _END:
                    return
                yield cast("T", result)
        finally:
            self._pieces.put((Future(), results.close))  # in its turn, for a step of it may still run

    @contextmanager
    def _queued(self, work: Callable[[], T]) -> Generator[asyncio.Future[T]]:
        """A piece of work that waits for its turn; it is never begun when this is left before."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="model", daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._pieces.put((future, work))
        self._n_waiting += 1
        try:
            yield asyncio.wrap_future(future)
        finally:
            future.cancel()
            self._n_waiting -= 1

    def close(self) -> None:
        """Begin nothing more once what waits is done."""
        self._pieces.put(None)

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            future, work = piece
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
