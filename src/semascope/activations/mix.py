"""The mixing buffer: consecutive tokens go in, well-mixed batches come out.

Neighbouring tokens resemble each other. A batch should look as if it were drawn from the whole corpus.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class MixingBuffer:
    """Draws random batches out of a preallocated pool and puts fresh rows in the places of the drawn ones.

    Every row that goes in comes out exactly once. While the source lasts, each batch is a uniform sample, without
    replacement, of ``capacity`` rows; a row waits ``capacity / batch`` batches on average. The last rows come out in
    random order, and the very last batch may be smaller.
    """

    def __init__(self, *, capacity: int, batch: int, width: int, seed: int, device: torch.device | str = "cpu") -> None:
        if capacity < batch:
            raise ValueError(f"a mixing buffer of {capacity} rows cannot give batches of {batch}")
        self.batch = batch
        self._pool_ND = torch.empty(capacity, width, device=device)
        self._filled = 0
        self._waiting_ND = torch.empty(0, width, device=device)
        self._generator = torch.Generator(device).manual_seed(seed)

    def batches(self, source: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield batches [batch, width] until ``source`` (an iterator of [N, width]) and the pool are empty."""
        self.fill(source)
        while self._filled:
            yield self._draw(source)

    def fill(self, source: Iterator[Tensor]) -> Tensor:
        """Fill the pool from the source and return what is in it, for measuring scale and mean before the start."""
        empty = torch.arange(self._filled, self._pool_ND.shape[0], device=self._pool_ND.device)
        self._filled += self._refill(empty, source)
        return self._pool_ND[: self._filled]

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the batches still to come, besides the source."""
        return {
            "pool": self._pool_ND[: self._filled],
            "waiting": self._waiting_ND,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on exactly where `state` was taken."""
        self._filled = state["pool"].shape[0]
        self._pool_ND[: self._filled] = state["pool"].to(self._pool_ND.device)
        self._waiting_ND = state["waiting"].to(self._pool_ND.device)
        self._generator.set_state(state["generator"])

    def _draw(self, source: Iterator[Tensor]) -> Tensor:
        device = self._pool_ND.device
        drawn = torch.randperm(self._filled, generator=self._generator, device=device)[: self.batch]
        batch_BD = self._pool_ND[drawn]
        self._close(drawn[self._refill(drawn, source) :])
        return batch_BD

    def _refill(self, places: Tensor, source: Iterator[Tensor]) -> int:
        """Put rows from the source into ``places``; returns how many there were. No host synchronisation."""
        done = 0
        while done < len(places):
            if not len(self._waiting_ND):
                fresh = next(source, None)
                if fresh is None:
                    break
                self._waiting_ND = fresh.to(self._pool_ND)
                continue
            take = min(len(places) - done, len(self._waiting_ND))
            self._pool_ND[places[done : done + take]] = self._waiting_ND[:take]
            self._waiting_ND = self._waiting_ND[take:]
            done += take
        return done

    def _close(self, gaps: Tensor) -> None:
        """Close gaps, which the source has nothing left for, from the end of the pool."""
        if len(gaps):
            kept = torch.ones(self._filled, dtype=torch.bool, device=gaps.device)
            kept[gaps] = False
            remaining = self._filled - len(gaps)
            tail = kept[remaining:].nonzero().flatten() + remaining
            self._pool_ND[gaps[gaps < remaining]] = self._pool_ND[tail]
            self._filled = remaining
