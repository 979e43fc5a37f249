"""Shared by the tests: one thread for toy sizes, and a stream of activations with planted features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from browser import Open
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser

    from semascope.runs import Run

# Where there is no GPU, its kernels run in Triton's interpreter, which has to be told before Triton is imported,
# which other libraries do when they are.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from semascope.activations import BatchStream
from semascope.models import HuggingFaceModel, load_model
from semascope.sae import SparseAutoencoder
from semascope.training import Columns, Trainer, TrainingConfig, train


@pytest.fixture(autouse=True)
def _one_thread_for_toys() -> None:
    """Matrices of a few hundred numbers are slower on several threads than on one.

    Before each test: other libraries' loops (UMAP's) change the number of OpenMP's threads, not of MKL's.
    """
    torch.set_num_threads(1)


@pytest.fixture
def all_threads() -> Iterator[None]:
    """For tests on the real model, and of what threads do."""
    torch.set_num_threads(max(2, torch.multiprocessing.cpu_count()))
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny() -> HuggingFaceModel:
    """The model without weights to fetch, exactly as it is."""
    model = load_model("tiny", device="cpu", precision="full")
    assert isinstance(model, HuggingFaceModel)
    return model


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A narrow run, `mine`, and a `wide` one of the tiny model on the same text."""
    from tiny_runs import texts, tiny_run

    folder = tmp_path_factory.mktemp("two")
    return tiny_run(folder / "mine", texts(), features=16), tiny_run(folder / "wide", texts(), features=64)


# What stands on a browser is imported where it is used, so that other tests do not wait for it.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from browser import browsing

    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    """The address of a server of the run, which is a fixture of the module that asks."""
    from browser import serving

    with serving(run.folder) as address:
        yield address


@pytest.fixture
def client(run: Run) -> Iterator[TestClient]:
    """A client of a server of the run, without a network."""
    from fastapi.testclient import TestClient

    from semascope.server import Served, create_app

    with TestClient(create_app(Served([run.folder])), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens pages of the run; afterwards no console may have seen an error."""
    from browser import opening

    with opening(browser, address) as opened:
        yield opened


class PlantedStream:
    """An endless stream of sparse sums of known directions: what a dictionary should find back."""

    scale = 1.0

    def __init__(self, *, width: int = 16, planted: int = 24, active: int = 2, batch: int = 256, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(planted, width, generator=generator)
        self.directions_PD = directions / directions.norm(dim=1, keepdim=True)
        self._active, self._batch, self._seed, self._drawn = active, batch, seed, 0

    def sample(self) -> Tensor:
        return self._rows(-1)

    def __next__(self) -> Tensor:
        self._drawn += 1
        return self._rows(self._drawn)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"drawn": self._drawn}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        del tensors
        self._drawn = values["drawn"]

    def _rows(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed + 7919 * (number + 2))
        planted, width = self.directions_PD.shape
        chosen = torch.rand(self._batch, planted, generator=generator).topk(self._active, dim=1).indices
        strengths = 1 + torch.rand(self._batch, self._active, generator=generator)
        x = torch.einsum("ba,bad->bd", strengths, self.directions_PD[chosen])
        return x * (width / x.square().sum(dim=1).mean()) ** 0.5


def train_many(
    stream: BatchStream, settings: Mapping[str, TrainingConfig], *, width: int, folder: Path
) -> dict[str, SparseAutoencoder]:
    """Dictionaries trained on the same batches, by name."""
    columns = Columns(slice(0, width))
    trainers = {name: Trainer(config, columns, folder=folder / name) for name, config in settings.items()}
    train(stream, trainers, folder / "checkpoints")
    return {name: trainer.autoencoder for name, trainer in trainers.items()}


def train_one(stream: BatchStream, settings: TrainingConfig, *, width: int, folder: Path) -> SparseAutoencoder:
    """One dictionary; its metrics are in ``folder``."""
    trainer = Trainer(settings, Columns(slice(0, width)), folder=folder)
    train(stream, {"dictionary": trainer}, folder / "checkpoints")
    return trainer.autoencoder
