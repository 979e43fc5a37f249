"""The training loop."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from semascope import progress
from semascope.activations import BatchStream
from semascope.errors import DataError, NumericalError
from semascope.sae import Moment, SparseAutoencoder, build
from semascope.training.checkpoints import Checkpoint, Checkpoints
from semascope.training.config import TrainingConfig
from semascope.training.firing import FiringRecord
from semascope.training.metrics import Meter, MetricsFile, finite
from semascope.training.optimizer import RowAdam
from semascope.training.schedules import learning_rate

# Metrics are read, dead features looked up and checkpoints considered every so many steps: all that makes the host
# wait for the device happens then. Resuming at a multiple of it is what makes resuming exact.
INTERVAL_STEPS = 10


def train(
    stream: BatchStream, config: TrainingConfig, *, width: int, folder: Path, device: torch.device | str = "cpu"
) -> SparseAutoencoder:
    """Train a dictionary on scaled activations, going on from the latest checkpoint in ``folder``.

    Args:
        stream: batches [B, width] with mean squared norm ``width``.
        config: settings; what they leave open is resolved first.
        folder: receives ``metrics.jsonl`` and ``checkpoints/``.

    Returns:
        The trained autoencoder, for scaled activations (see `SparseAutoencoder.folded`).

    Raises:
        NumericalError: the loss is not finite.
        DataError: the stream ended before ``config.tokens``.
        MismatchError, DamagedError: the checkpoint is of another training, or unreadable.
    """
    config = config.resolved()
    assert config.learning_rate is not None
    assert config.dead_after_tokens is not None
    assert config.precision != "auto"
    settings = config.model_dump(mode="json")

    autoencoder = build(config.variant, width=width, features=config.features, device=device)
    autoencoder.precision = config.precision
    optimizer = RowAdam(
        autoencoder.named_parameters(),
        unit_rows=autoencoder.unit_rows,
        rate_factors=autoencoder.rate_factors,
        betas=config.variant.adam_betas(),
        clip=config.gradient_clip,
    )
    firing = FiringRecord(config.features, device=device)
    checkpoints = Checkpoints(folder / "checkpoints")

    first_step = 0
    if checkpoint := checkpoints.latest(settings):
        autoencoder.load_state_dict(checkpoint.weights)
        optimizer.restore(checkpoint.optimizer)
        stream_tensors = dict(checkpoint.stream)
        firing.last_fired_F.copy_(stream_tensors.pop("last_fired"))
        firing.tokens_seen = checkpoint.stream_values["tokens_seen"]
        stream.restore(stream_tensors, dict(checkpoint.stream_values))
        first_step = checkpoint.step
    else:
        sample_ND = stream.sample().to(device)
        autoencoder.initialize(sample_ND, sample_ND, torch.Generator().manual_seed(config.seed))

    def take_checkpoint(step: int) -> None:
        stream_tensors, stream_values = stream.state()
        checkpoints.save(
            Checkpoint(
                step=step,
                config=settings,
                weights=autoencoder.state_dict(),
                optimizer=optimizer.state(),
                stream={**stream_tensors, "last_fired": firing.last_fired_F},
                stream_values={**stream_values, "tokens_seen": firing.tokens_seen},
            )
        )

    metrics = MetricsFile(folder / "metrics.jsonl", keep_up_to_step=first_step)
    meter = Meter()
    dead_F: Tensor | None = firing.dead(config.dead_after_tokens)
    interval_started = time.perf_counter()
    interval_tokens = 0

    with progress.task("Train", total=config.steps, unit="steps", done=first_step) as shown:
        for step in range(first_step, config.steps):
            x_BD = _next_batch(stream, step, config).to(device)
            fraction = step / config.steps
            rate = learning_rate(fraction, peak=config.learning_rate, decay_fraction=config.decay_fraction)

            losses = autoencoder.loss(x_BD, Moment(fraction, dead_F))
            losses.total.backward()
            gradient_norm = optimizer.step(rate)

            firing.update(losses.codes)
            meter.add(x_BD, losses, gradient_norm)
            interval_tokens += len(x_BD)
            shown.advance()

            done = step + 1
            if done % INTERVAL_STEPS == 0 or done == config.steps:
                dead_F = firing.dead(config.dead_after_tokens)
                dead_fraction = len(dead_F) / config.features if dead_F is not None else 0.0
                values = meter.read() | {"dead_fraction": dead_fraction, "learning_rate": rate}
                if not finite(values):
                    raise NumericalError(
                        f"training went astray at step {done} (loss {values['loss']:.3g}): try a lower learning rate "
                        f"than {config.learning_rate:.3g}; the last checkpoint is from before"
                    )
                now = time.perf_counter()
                speed = interval_tokens / (now - interval_started)
                interval_started, interval_tokens = now, 0
                metrics.append({"step": done, "tokens": firing.tokens_seen, **values, "tokens_per_second": speed})
                shown.note(f"explained variance {values['explained_variance']:.3f}, L0 {values['l0']:.0f}")
                if checkpoints.due() or done == config.steps:
                    take_checkpoint(done)
    return autoencoder


def _next_batch(stream: BatchStream, step: int, config: TrainingConfig) -> Tensor:
    try:
        return next(stream)
    except StopIteration:
        raise DataError(
            f"the text ended after {step} of {config.steps} steps of {config.batch_tokens} tokens: "
            f"give more text, or ask for at most {step * config.batch_tokens} tokens"
        ) from None
