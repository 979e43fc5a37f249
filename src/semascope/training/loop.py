"""The training loop: any number of dictionaries on one stream of activations."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from semascope import progress
from semascope.activations import BatchStream
from semascope.errors import DataError, ProcessError
from semascope.sae import SparseAutoencoder
from semascope.training.checkpoints import Checkpoint, Checkpoints
from semascope.training.config import TrainingConfig
from semascope.training.trainer import Trainer

# Intervals end, and checkpoints are considered, every so many steps: resuming at a multiple of it is what makes
# resuming exact.
INTERVAL_STEPS = 10


def train(stream: BatchStream, trainers: Mapping[str, Trainer], checkpoints_folder: Path) -> None:
    """Train dictionaries on the same batches, going on from the latest checkpoint.

    Args:
        stream: batches [B, D] of scaled activations, of which each trainer takes its columns.
        trainers: by name; their trainings are equally long, with batches of the same size.
        checkpoints_folder: one checkpoint holds all dictionaries and the stream.

    Afterwards every trainer's autoencoder is trained, for scaled activations (see `SparseAutoencoder.folded`). In a
    team everyone has a part of each (see `whole`), and all must see the same batches.

    Raises:
        NumericalError: a loss is not finite.
        DataError: the stream ended too early.
        MismatchError, DamagedError: the checkpoint is of other trainings, or unreadable.
        ProcessError: another process of the team ended.
    """
    checkpoints = Checkpoints(checkpoints_folder, next(iter(trainers.values())).team)
    try:
        _train(stream, trainers, checkpoints)
    except ProcessError as error:
        last = f"from step {checkpoints.last_step}, the last checkpoint" if checkpoints.last_step else "from the start"
        raise ProcessError(f"{error}: the same command goes on {last}, with any number of processes") from error


def whole(name: str, trainer: Trainer, checkpoints_folder: Path) -> SparseAutoencoder:
    """A trained dictionary with all of its features, whoever has them: from the last checkpoint of the training."""
    return trainer.whole(lambda: Checkpoints(checkpoints_folder).weights(name))


def _train(stream: BatchStream, trainers: Mapping[str, Trainer], checkpoints: Checkpoints) -> None:
    config = next(iter(trainers.values())).config
    device = next(iter(trainers.values())).device
    configs = {name: trainer.config.model_dump(mode="json") for name, trainer in trainers.items()}
    first_step = _resume(stream, trainers, checkpoints.latest(configs))

    def take_checkpoint(step: int) -> None:
        stream_tensors, stream_values = stream.state()
        checkpoints.save(
            Checkpoint(
                step=step,
                configs=configs,
                weights={name: trainer.autoencoder.state_dict() for name, trainer in trainers.items()},
                progress={name: trainer.progress() for name, trainer in trainers.items()},
                stream=stream_tensors,
                stream_values=stream_values,
            )
        )

    for trainer in trainers.values():
        trainer.begin(after_step=first_step)
    interval_started = time.perf_counter()
    interval_tokens = 0
    many = f" {len(trainers)} dictionaries" if len(trainers) > 1 else ""
    with progress.task(f"Train{many}", total=config.steps, unit="steps", done=first_step) as shown:
        for step in range(first_step, config.steps):
            batch_BD = _next_batch(stream, step, config).to(device)
            for trainer in trainers.values():
                trainer.step(batch_BD, step)
            interval_tokens += len(batch_BD)
            shown.advance()

            done = step + 1
            if done % INTERVAL_STEPS == 0 or done == config.steps:
                now = time.perf_counter()
                speed = interval_tokens / (now - interval_started)
                figures = [trainer.end_interval(done, tokens_per_second=speed) for trainer in trainers.values()]
                interval_started, interval_tokens = time.perf_counter(), 0
                shown.note(_note(figures))
                if checkpoints.due() or done == config.steps:
                    take_checkpoint(done)


def _resume(stream: BatchStream, trainers: Mapping[str, Trainer], checkpoint: Checkpoint | None) -> int:
    """Put everything where the checkpoint was taken, or where a training starts; returns how many steps are done."""
    if checkpoint is None:
        sample_ND = stream.sample()
        for trainer in trainers.values():
            trainer.initialize(sample_ND)
        return 0
    for name, trainer in trainers.items():
        trainer.restore(checkpoint.weights[name], checkpoint.progress[name])
    stream.restore(dict(checkpoint.stream), dict(checkpoint.stream_values))
    return checkpoint.step


def _note(figures: list[dict[str, float]]) -> str:
    def span(name: str, digits: int) -> str:
        ends = [f"{end:.{digits}f}" for end in (min(f[name] for f in figures), max(f[name] for f in figures))]
        return ends[0] if ends[0] == ends[1] else "–".join(ends)

    return f"explained variance {span('explained_variance', 3)}, L0 {span('l0', 0)}"


def _next_batch(stream: BatchStream, step: int, config: TrainingConfig) -> Tensor:
    try:
        return next(stream)
    except StopIteration:
        raise DataError(
            f"the text ended after {step} of {config.steps} steps of {config.batch_tokens} tokens: "
            f"give more text, or ask for at most {step * config.batch_tokens} tokens"
        ) from None
