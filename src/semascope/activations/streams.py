"""Batches for training: scaled, mixed, and resumable, from a store on disk or straight from the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from semascope.activations.harvest import harvest
from semascope.activations.mix import MixingBuffer
from semascope.activations.outliers import OutlierCounts, OutlierFilter
from semascope.activations.store import ActivationStore, side_by_side
from semascope.errors import NumericalError
from semascope.models import LanguageModel
from semascope.records import Site, TokenBatch
from semascope.team import ALONE, Team

# How many activations a training may look at before it starts.
SAMPLE = 16_384


class BatchStream(Protocol):
    """An endless or finite supply of training batches, scaled so that the mean squared norm is the width.

    Of several sites, the activations of a token stand side by side, each site scaled by itself.
    """

    def sample(self) -> Tensor:
        """Scaled activations [N, D] to initialise a dictionary with; before the first batch."""
        ...

    def __next__(self) -> Tensor:
        """The next scaled batch [B, D]; raises StopIteration at the end."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values from which `restore` goes on exactly."""
        ...

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


def unit_scale(mean_squared_norm: float, width: int) -> float:
    """The one scalar that brings the mean squared norm to the width. Raises NumericalError for zero or not finite."""
    if not 0 < mean_squared_norm < float("inf"):
        raise NumericalError(f"activations with a mean squared norm of {mean_squared_norm} cannot be scaled")
    return (width / mean_squared_norm) ** 0.5


class StoredBatches:
    """Batches out of a store, in a fresh full permutation of all rows in every pass.

    ``columns``: where each site is. ``scales``: what its raw activations are multiplied with. ``outliers``: the filter
    that they went through.
    """

    def __init__(self, store: ActivationStore, *, batch: int, seed: int) -> None:
        self.outliers = OutlierFilter(*store.manifest.recent_medians, counts=store.manifest.outliers)
        self.columns, norms = store.columns, store.mean_squared_norms
        self.scales = {site: unit_scale(norms[site], _width(columns)) for site, columns in self.columns.items()}
        self._scale_D = _by_column(self.scales, self.columns)
        self._store, self._batch, self._seed = store, min(batch, len(store)), seed
        self._pass, self._done = 0, 0
        self._order = self._permutation()

    def sample(self) -> Tensor:
        """The rows of the first batches of the first pass."""
        return self._store.rows(self._permutation()[:SAMPLE]) * self._scale_D

    def __next__(self) -> Tensor:
        if self._done + self._batch > len(self._store):
            self._pass, self._done = self._pass + 1, 0
            self._order = self._permutation()
        rows = self._order[self._done : self._done + self._batch]
        self._done += self._batch
        return self._store.rows(rows) * self._scale_D

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"pass": self._pass, "done": self._done}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        del tensors
        self._pass, self._done = values["pass"], values["done"]
        self._order = self._permutation()

    def _permutation(self) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._pass)
        return torch.randperm(len(self._store), generator=generator)


class LiveBatches:
    """Batches from the model as it runs, through a mixing buffer; one pass over the text, nothing on disk.

    ``windows(skip)`` opens the stream of token windows after the first ``skip`` ones. ``columns``: where each site is.
    ``outliers`` is the filter that activations go through. The model runs no further than ``tokens`` activations need;
    then the buffer empties. The processes of a ``team`` share the model's work, and each has the whole buffer.
    """

    def __init__(
        self,
        model: LanguageModel,
        sites: Sequence[Site],
        windows: Callable[[int], Iterator[TokenBatch]],
        *,
        tokens: int,
        batch: int,
        buffer_tokens: int,
        seed: int,
        team: Team = ALONE,
    ) -> None:
        self._team = team
        self._model, self._sites, self._windows, self._tokens = model, sites, windows, tokens
        self.columns = side_by_side({site: model.width(site) for site in sites})
        self._buffer = MixingBuffer(
            capacity=max(min(buffer_tokens, tokens), batch),
            batch=batch,
            width=sum(map(_width, self.columns.values())),
            seed=seed,
            device=model.device,
        )
        self.outliers = OutlierFilter()
        self._windows_done = 0
        self._source = self._open()
        self._batches = self._buffer.batches(self._source)
        self._scales: dict[Site, float] | None = None

    @property
    def scales(self) -> dict[Site, float]:
        """What raw activations are multiplied with: measured on the first full buffer, constant from then on."""
        if self._scales is None:
            pool_ND = self._buffer.fill(self._source)
            squares_D = torch.stack([column_N.double().square().sum() for column_N in pool_ND.unbind(dim=1)])
            self._scales = {
                site: unit_scale(squares_D[columns].sum().item() / max(1, len(pool_ND)), _width(columns))
                for site, columns in self.columns.items()
            }
        return self._scales

    def sample(self) -> Tensor:
        """The start of the full buffer."""
        scale_D = self._scale_D
        return self._buffer.fill(self._source)[:SAMPLE] * scale_D

    def __next__(self) -> Tensor:
        scale_D = self._scale_D
        return next(self._batches) * scale_D

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        counts = self.outliers.counts
        return self._buffer.state(), {
            "windows_done": self._windows_done,
            "scales": list(self.scales.values()),
            "recent_medians": self.outliers.recent_medians,
            "counts": [counts.tokens, counts.first_position, counts.massive],
        }

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._buffer.restore(tensors)
        self._windows_done = values["windows_done"]
        self._scales = dict(zip(self.columns, values["scales"], strict=True))
        self.__dict__.pop("_scale_D", None)
        self.outliers = OutlierFilter(*values["recent_medians"], counts=OutlierCounts(*values["counts"]))
        self._source = self._open()
        self._batches = self._buffer.batches(self._source)

    @cached_property
    def _scale_D(self) -> Tensor:
        return _by_column(self.scales, self.columns).to(self._model.device)

    def _open(self) -> Iterator[Tensor]:
        batches = harvest(self._model, self._sites, self._windows(self._windows_done), self.outliers, self._team)
        while self.outliers.counts.kept < self._tokens and (harvested := next(batches, None)):
            text, activations = harvested
            self._windows_done += len(text.tokens_BT)
            yield activations.values_ND


def _width(columns: slice) -> int:
    return columns.stop - columns.start


def _by_column(scales: Mapping[Site, float], columns: Mapping[Site, slice]) -> Tensor:
    """[D]: the scale of each column."""
    return torch.cat([torch.full((_width(columns[site]),), scale) for site, scale in scales.items()])
