"""One dictionary in training: its parameters, their optimizer, and what is known of its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semascope.errors import ConfigError, NumericalError
from semascope.sae import Moment, SparseAutoencoder, build, by_feature
from semascope.team import ALONE, Team
from semascope.training.config import TrainingConfig
from semascope.training.firing import FiringRecord
from semascope.training.metrics import Meter, MetricsFile, finite
from semascope.training.optimizer import RowAdam
from semascope.training.schedules import learning_rate

# A feature that has been silent for this part of the time after which it counts as dead is helped back to life.
QUIET_SHARE = 0.5
# Features are revived on the batches since the last look, up to the one that makes them so many rows: in wide
# dictionaries a single batch has too few for a feature to fire on as rarely as it should.
REVIVAL_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Columns:
    """What of a batch of activations a dictionary sees: the columns of its site, and of what it predicts from them.

    ``outputs``: those of a transcoder's other site. ``skip``: whether a transcoder has a skip connection.
    """

    inputs: slice
    outputs: slice | None = None
    skip: bool = False

    def of(self, batch_BD: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs and the targets."""
        x_BD = batch_BD[:, self.inputs].contiguous()
        return x_BD, x_BD if self.outputs is None else batch_BD[:, self.outputs].contiguous()


class Trainer:
    """Trains one dictionary, a batch at a time. ``folder`` receives its ``metrics.jsonl``.

    In a ``team`` every process has a trainer for its part of the features; the first one writes the metrics of all.

    Metrics are read and dead features looked up at the end of an interval: all that makes the host wait for the device
    happens then.
    """

    def __init__(
        self, config: TrainingConfig, columns: Columns, *, folder: Path, device: torch.device | str = "cpu",
        team: Team = ALONE,
    ) -> None:  # fmt: skip
        self.config, self.columns, self.folder, self.device = config.resolved(device), columns, folder, device
        self.team = team
        config = self.config
        self.held = team.held(config.features)
        for what, count, parts in (
            ("features", config.features, team.feature_parts),
            ("tokens of a batch", config.batch_tokens, team.row_parts),
        ):
            if count < parts:
                raise ConfigError(
                    f"{count} {what} cannot be divided among {parts} processes: ask for more, or start fewer"
                )
        self.autoencoder = self._build(self.held, device)
        self.autoencoder.team = team
        self.optimizer = RowAdam(
            self.autoencoder.named_parameters(),
            unit_rows=self.autoencoder.unit_rows,
            rate_factors=self.autoencoder.rate_factors,
            betas=config.variant.adam_betas(),
            clip=config.gradient_clip,
            team=team,
        )
        self.firing = FiringRecord(self.held[1] - self.held[0], device=device)
        self.quiet_F: Tensor | None = None
        self._dead_fraction = 0.0
        self._since_last_look: list[Tensor] = []
        self._meter = Meter()

    def initialize(self, sample_ND: Tensor) -> None:
        """Start afresh, with a sample of the activations to come."""
        generator = torch.Generator().manual_seed(self.config.seed)
        self.autoencoder.initialize(*self.columns.of(sample_ND.to(self.device)), generator)

    def begin(self, *, after_step: int) -> None:
        """Get ready for the first step, or for the one after ``after_step`` ones that are done."""
        if self.team.first:
            self._metrics = MetricsFile(self.folder / "metrics.jsonl", keep_up_to_step=after_step)
        self._look_for_dead()

    def step(self, batch_BD: Tensor, step: int) -> None:
        """Learn from a batch; ``step`` steps are done. No host synchronisation on a device."""
        x_BD, target_BO = self.columns.of(batch_BD)
        fraction, rows, own = step / self.config.steps, len(batch_BD), self.team.rows(len(batch_BD))
        losses = self.autoencoder.loss(x_BD[own], Moment(fraction, self.quiet_F, rows), target_BO[own])
        losses.total.backward()
        gradient_norm = self.optimizer.step(self.rate(fraction))
        self.firing.update(losses.codes, rows)
        self._meter.add(target_BO[own], losses, gradient_norm)
        if self.quiet_F is not None and sum(map(len, self._since_last_look)) < REVIVAL_ROWS:
            self._since_last_look.append(batch_BD)

    def rate(self, fraction: float) -> float:
        """The learning rate when so much of the training is done."""
        assert self.config.learning_rate is not None
        return learning_rate(fraction, peak=self.config.learning_rate, decay_fraction=self.config.decay_fraction)

    def end_interval(self, step: int, *, tokens_per_second: float) -> dict[str, float]:
        """Write a line of metrics about the steps since the last one, and look which features are dead.

        Those that were quiet all the while, and have had the auxiliary loss, are revived. Raises NumericalError when a
        figure is not finite.
        """
        were_quiet_F = self.quiet_F
        self._look_for_dead()
        # Not after the last step: nothing would teach them what they fire on.
        if step < self.config.steps:
            self._revive(were_quiet_F)
        self._since_last_look.clear()
        self._align()
        rate = self.rate((step - 1) / self.config.steps)
        values = self._meter.read(self.team) | {"dead_fraction": self._dead_fraction, "learning_rate": rate}
        if not finite(values):
            raise NumericalError(
                f"training went astray at step {step} (loss {values['loss']:.3g}): try a lower learning rate "
                f"than {self.config.learning_rate:.3g}; the last checkpoint is from before"
            )
        seen = {"step": step, "tokens": self.firing.tokens_seen}
        if self.team.first:
            self._metrics.append({**seen, **values, "tokens_per_second": tokens_per_second})
        return values

    def progress(self) -> dict[str, Tensor]:
        """What goes into a checkpoint beside the weights."""
        seen = torch.tensor(self.firing.tokens_seen)
        return {**self.optimizer.state(), "last_fired": self.firing.last_fired_F, "tokens_seen": seen}

    def restore(self, weights: Mapping[str, Tensor], progress: Mapping[str, Tensor]) -> None:
        """Go on where a checkpoint was taken."""
        self.autoencoder.load_state_dict(weights)
        self.optimizer.restore(progress)
        self.firing.last_fired_F.copy_(progress["last_fired"])
        self.firing.tokens_seen = int(progress["tokens_seen"])

    def whole(self, weights: Callable[[], Mapping[str, Tensor]]) -> SparseAutoencoder:
        """The whole dictionary, after the last step: the optimizer's memory is given back.

        ``weights`` reads those of all features, where this process has a part of them; together they may be more than
        a GPU holds, so they stay in the memory of the host.
        """
        self.optimizer.release()
        if self.team.feature_parts == 1:
            return self.autoencoder
        autoencoder = self._build(None, device="cpu")
        autoencoder.load_state_dict(weights())
        return autoencoder

    def _build(self, held: tuple[int, int] | None, device: torch.device | str) -> SparseAutoencoder:
        config, inputs, outputs = self.config, self.columns.inputs, self.columns.outputs
        assert config.precision != "auto"
        autoencoder = build(
            config.variant,
            width=inputs.stop - inputs.start,
            features=config.features,
            output_width=outputs.stop - outputs.start if outputs else None,
            skip=self.columns.skip,
            held=held,
            device=device,
        )
        autoencoder.precision = config.precision
        return autoencoder

    def _revive(self, were_quiet_F: Tensor | None) -> None:
        """Help features that were quiet before and still are; those that are dead by now may become others."""
        if were_quiet_F is None or self.quiet_F is None or not self.config.variant.auxiliary_coefficient:
            return
        quiet_F = self.quiet_F[torch.isin(self.quiet_F, were_quiet_F)]
        longest_first = self.firing.last_fired_F[quiet_F].argsort(stable=True)
        quiet_F = quiet_F[longest_first]
        dead_F = quiet_F[torch.isin(quiet_F, self._silent_for(1.0))]
        x_BD, target_BO = self.columns.of(torch.cat(self._since_last_look))
        renewed_F = self.autoencoder.renew(dead_F, x_BD, target_BO)
        self.optimizer.forget(renewed_F)
        self.autoencoder.lower_barriers(quiet_F[torch.isin(quiet_F, renewed_F, invert=True)], x_BD)

    def _align(self) -> None:
        """Have the same numbers as everyone where all have the same, and what the optimizer knows of them."""
        own = {**self.autoencoder.state_dict(), **self.optimizer.state()}
        self.team.align(tensor for name, tensor in own.items() if not by_feature(name.partition("/")[0]))

    def _look_for_dead(self) -> None:
        """Which features are quiet, of those held here (no list where nobody has any), and how many are dead."""
        self.firing.last_fired_F = self.team.latest(self.firing.last_fired_F)
        quiet_F, dead_F = self._silent_for(QUIET_SHARE), self._silent_for(1.0)
        self.quiet_F = quiet_F if sum(self.team.by_features(len(quiet_F))) else None
        self._dead_fraction = sum(self.team.by_features(len(dead_F))) / self.config.features

    def _silent_for(self, share: float) -> Tensor:
        """The features that have been silent for this share of the time that makes them dead."""
        assert self.config.dead_after_tokens is not None
        return self.firing.silent(max(1, round(share * self.config.dead_after_tokens)))
