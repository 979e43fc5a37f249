"""The training loop: any number of dictionaries on one stream of activations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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


def train(
    stream: BatchStream, trainers: Mapping[str, Trainer], checkpoints_folder: Path,
    finished: Callable[[str], None] = lambda _: None,
) -> None:  # fmt: skip
    """Train dictionaries on the same batches, going on from the latest checkpoint.

    Args:
        stream: batches [B, D] of scaled activations, of which each trainer takes its columns.
        trainers: by name; with batches of the same size, each for the steps of its own settings.
        checkpoints_folder: one checkpoint holds all dictionaries that are in training, and the stream.
        finished: told the name of each that has done its steps, right after the last checkpoint that holds it.

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
        _train(stream, dict(trainers), checkpoints, finished)
    except ProcessError as error:
        last = f"from step {checkpoints.last_step}, the last checkpoint" if checkpoints.last_step else "from the start"
        raise ProcessError(f"{error}: the same command goes on {last}, with any number of processes") from error


def whole(name: str, trainer: Trainer, checkpoints_folder: Path) -> SparseAutoencoder:
    """A trained dictionary with all of its features, whoever has them: from the last checkpoint of the training."""
    return trainer.whole(lambda: Checkpoints(checkpoints_folder).weights(name))


def _train(
    stream: BatchStream, trainers: dict[str, Trainer], checkpoints: Checkpoints, finished: Callable[[str], None]
) -> None:
    device = next(iter(trainers.values())).device
    configs = {name: trainer.config.model_dump(mode="json") for name, trainer in trainers.items()}
    steps = {name: trainer.config.steps for name, trainer in trainers.items()}
    longest = max((trainer.config for trainer in trainers.values()), key=lambda config: config.steps)
    first_step = _resume(stream, trainers, checkpoints.latest(configs))

    def take_checkpoint(step: int) -> None:
        stream_tensors, stream_values = stream.state()
        checkpoints.save(
            Checkpoint(
                step=step,
                configs={name: configs[name] for name in trainers},
                weights={name: trainer.autoencoder.state_dict() for name, trainer in trainers.items()},
                progress={name: trainer.progress() for name, trainer in trainers.items()},
                stream=stream_tensors,
                stream_values=stream_values,
            )
        )

    def take_leave(done: int) -> None:
        for name in [name for name in trainers if steps[name] <= done]:
            finished(name)
            del trainers[name]

    for trainer in trainers.values():
        trainer.begin(after_step=first_step)
    interval_started = time.perf_counter()
    interval_tokens = 0
    many = f" {len(trainers)} dictionaries" if len(trainers) > 1 else ""
    # A step of all of them is the unit; where some are done, one of the others is the part of it that it costs.
    size = {name: trainer.config.features for name, trainer in trainers.items()}
    all_sizes = sum(size.values())

    def work(until: int) -> float:
        return sum(min(until, steps[name]) * size[name] for name in steps) / all_sizes

    with progress.task(f"Train{many}", total=work(longest.steps), unit="steps", done=work(first_step)) as shown:
        take_leave(first_step)
        for step in range(first_step, longest.steps):
            batch_BD = _next_batch(stream, step, longest).to(device)
            for trainer in trainers.values():
                if step < trainer.config.steps:
                    trainer.step(batch_BD, step)
            interval_tokens += len(batch_BD)
            shown.advance(work(step + 1) - work(step))

            done = step + 1
            interval_ends = done % INTERVAL_STEPS == 0
            now = time.perf_counter()
            speed = interval_tokens / (now - interval_started)
            ending = [
                t for t in trainers.values() if t.config.steps == done or (interval_ends and t.config.steps > done)
            ]
            figures = [trainer.end_interval(done, tokens_per_second=speed) for trainer in ending]
            if figures:
                shown.note(_note(figures))
            if interval_ends or done == longest.steps:
                interval_started, interval_tokens = time.perf_counter(), 0
                if checkpoints.due() or any(steps[name] <= done for name in trainers):
                    take_checkpoint(done)
                    take_leave(done)


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
