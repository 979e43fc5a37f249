"""Trainings in several processes, for tests, on the loopback only.

A server imports everything once and forks each process from there: a launch takes no longer than its training.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from conftest import PlantedStream
from torch import Tensor

from semascope.errors import SemascopeError
from semascope.files import write_tensors
from semascope.training import Columns, Trainer, TrainingConfig, checkpoints, train, whole
from semascope.training.distributed import joined

WIDTH = 16


def columns_of(name: str) -> Columns:
    """All of them, or for a transcoder some and the others."""
    return (
        Columns(slice(0, 10), slice(10, WIDTH), skip=True)
        if name.startswith("transcoder")
        else Columns(slice(0, WIDTH))
    )


_processes = multiprocessing.get_context("forkserver")


def _start_server() -> None:
    """It finds this file by the environment only: Python 3.11 does not hand it the path of modules."""
    _processes.set_forkserver_preload(["ranks"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()


@dataclass(frozen=True)
class Job:
    """A training of dictionaries by name; the first process writes the whole ones to ``folder``.

    ``ends``: how it ends before the batch ``after``: "killed" or "hung" the process ``victim``, "interrupted" all.
    ``patience``: in seconds.
    """

    folder: Path
    settings: Mapping[str, TrainingConfig]
    data_parallel: int = 1
    patience: float = 60.0
    ends: str | None = None
    after: int | None = None
    victim: int = 1


def launch(size: int, job: Job) -> list[tuple[int | None, str]]:
    """Run it in as many processes: the exit code of each, and what it says on stderr."""
    _start_server()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    job.folder.mkdir(parents=True, exist_ok=True)
    processes: list[BaseProcess] = [
        _processes.Process(target=_process, args=(rank, size, port, job), daemon=True) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    return [(process.exitcode, _said(job, rank).read_text()) for rank, process in enumerate(processes)]


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


class _Stream(PlantedStream):
    def __init__(self, job: Job, rank: int) -> None:
        super().__init__(width=WIDTH)
        self._job, self._rank = job, rank

    def __next__(self) -> Tensor:
        if self._drawn == self._job.after:
            match self._job.ends:
                case "interrupted":
                    raise KeyboardInterrupt
                case "killed" if self._rank == self._job.victim:
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hung" if self._rank == self._job.victim:
                    time.sleep(self._job.patience + 2)
                case _:
                    pass
        return super().__next__()


def _process(rank: int, size: int, port: int, job: Job) -> None:
    os.environ.update(environment(rank, size, port))
    sys.stderr = _said(job, rank).open("w", buffering=1)
    torch.set_num_threads(1)
    try:
        _work(job)
    except SemascopeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _work(job: Job) -> None:
    if job.ends:  # a checkpoint at every interval
        checkpoints.LEAST_SECONDS_BETWEEN, checkpoints.SHARE_OF_TIME = 0.0, 1e9
    kept = job.folder / "checkpoints"
    with joined(data_parallel=job.data_parallel, patience=timedelta(seconds=job.patience)) as team:
        trainers = {
            name: Trainer(config, columns_of(name), folder=job.folder / name, team=team)
            for name, config in job.settings.items()
        }
        train(_Stream(job, team.rank), trainers, kept)
        if team.first:
            for name, trainer in trainers.items():
                write_tensors(job.folder / name / "whole.safetensors", whole(name, trainer, kept).state_dict())
        team.wait()


def _said(job: Job, rank: int) -> Path:
    return job.folder / f"stderr-{rank}"
