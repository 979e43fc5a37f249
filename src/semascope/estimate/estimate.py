"""What a run will take, before it is begun: time, memory of a process, disk, and traffic between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from semascope.activations.streams import SAMPLE
from semascope.config import RunConfig
from semascope.errors import ConfigError
from semascope.estimate.disk import disk_space
from semascope.estimate.hardware import Hardware
from semascope.estimate.memory import Sizes, stage_memory
from semascope.estimate.step import (
    FLOAT,
    StepShape,
    active_entries,
    exchanged_bytes,
    step_parts,
    step_seconds,
    touched_features,
    variant_factor,
)
from semascope.models.skeleton import Skeleton
from semascope.source import TOKENS_PER_FORWARD
from semascope.training.checkpoints import LEAST_SECONDS_BETWEEN, SHARE_OF_TIME

# Of the memory of a process, this share may be planned with.
USABLE = 0.95
# Into so many parts of the features an advice goes.
MOST_PARTS = 4096
# Passes of an evaluation over the whole model, and numbers that it reads or writes for each logit of them.
EVALUATION_PASSES, READS_OF_LOGITS = 3, 12
# How often the start of a training reads its sample: 50 iterations of a geometric median, four times each.
READS_OF_SAMPLE = 200
# Seconds for each activation and for each feature that goes into an index: assumed. The one index that was compared
# (docs/LOG.md) was made and estimated on a machine with much other work, which tells little of either.
INDEX_ACTIVATION, INDEX_FEATURE = 1.2e-6, 3e-4


@dataclass(frozen=True, slots=True)
class Team:
    """How many processes work together: ``feature_parts`` times ``row_parts``."""

    feature_parts: int = 1
    row_parts: int = 1

    @property
    def size(self) -> int:
        """All of them."""
        return self.feature_parts * self.row_parts


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes. Bytes and seconds; ``seconds`` and ``memory`` by stage.

    ``memory``: the parts of what the first process holds at the peak of a stage; the others have no more. ``step``:
    seconds of the parts of a training step, each times ``step_factor``: what was measured, or is known of the variant,
    beyond the counts. ``exchanged``: bytes that a process receives in a step. ``limit``: what the hardware has for one
    process. ``advice``: what would fit, where this does not; else empty.
    """

    hardware: str
    measured: bool
    processes: int
    steps: int
    seconds: dict[str, float]
    memory: dict[str, dict[str, float]]
    limit: float
    disk: dict[str, float]
    step: dict[str, float]
    step_factor: float
    exchanged: dict[str, float]
    exchange_seconds: float
    advice: str = ""

    @property
    def total_seconds(self) -> float:
        """Of ``semascope train``: everything but the index."""
        return sum(taken for stage, taken in self.seconds.items() if stage != "index")

    @property
    def peak_stage(self) -> str:
        """The stage of ``semascope train`` that needs most memory."""
        stages = [stage for stage in self.memory if stage != "index"]
        return max(stages, key=lambda stage: sum(self.memory[stage].values()))

    @property
    def peak_memory(self) -> float:
        """The most that one process of ``semascope train`` holds, in bytes."""
        return sum(self.memory[self.peak_stage].values())

    @property
    def fits(self) -> bool:
        """Whether that fits into what the hardware has."""
        return self.peak_memory <= USABLE * self.limit

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        derived = ("total_seconds", "peak_stage", "peak_memory", "fits")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def estimate(config: RunConfig, model: Skeleton, hardware: Hardware, team: Team = Team()) -> Estimate:
    """What ``semascope train`` and ``index`` will take.

    Args:
        config: of the run; raises SiteError for a site that the model does not have.
        model: that of the run.
        hardware: that of each process.
        team: the processes; ConfigError where a batch or the features cannot be divided among them.
    """
    check(config, model, team)
    found = _estimate(config, model, hardware, team)
    return found if found.fits else _with_advice(found, config, model, hardware, team)


def step_shape(config: RunConfig, model: Skeleton, team: Team = Team(), *, fast: bool) -> StepShape:
    """What one process has of a step."""
    training = config.training
    widths = [model.width(site) for site in config.sites]
    entries = min(active_entries(training.variant), training.features)
    own_features = training.features / team.feature_parts
    own_entries = entries / team.feature_parts
    rows = training.batch_tokens / team.row_parts
    # Gradients are summed over the rows of all, so the rows that anybody touched count.
    touched = touched_features(own_features, training.batch_tokens * own_entries)
    return StepShape(rows, own_features, widths[0], widths[-1], entries, own_entries, touched, fast)


def _estimate(config: RunConfig, model: Skeleton, hardware: Hardware, team: Team) -> Estimate:
    training = config.training.resolved("cuda" if hardware.on_gpu else "cpu")
    shape = step_shape(config, model, team, fast=training.precision == "fast")
    parts, factor = step_parts(shape), variant_factor(training.variant)
    if hardware.measured:
        factor = 1.0  # It was measured with the variant.
    stored_width = sum(model.width(site) for site in dict.fromkeys(config.sites))
    blocks = max(site.layer + 1 for site in config.sites)
    item = _item_size(config, hardware)
    sizes = Sizes(
        model=model.parameters * item,
        model_to_site=model.block_parameters(blocks) * item,
        vocabulary=model.vocabulary,
        residual_width=model.residual_width,
        item=item,
    )
    memory = stage_memory(
        config,
        sizes,
        shape,
        stored_width=stored_width,
        tokens_per_pass=_tokens_per_pass(config),
        on_gpu=hardware.on_gpu,
    )
    disk = disk_space(config, features=training.features, widths=(shape.width, shape.output_width),
                      stored_width=stored_width, entries=shape.entries)  # fmt: skip
    exchanged = exchanged_bytes(shape, training.variant, team.feature_parts, team.row_parts)
    link = hardware.link if team.size <= hardware.processes else hardware.network
    exchange = sum(exchanged.values()) / link
    step = factor * step_seconds(parts, hardware)
    seconds = _stages(config, model, hardware, team, shape, disk, step + exchange, stored_width, blocks, item, link)
    per_part = {part.name: factor * hardware.step_factor * part.seconds(hardware) for part in parts}
    return Estimate(
        hardware=hardware.name, measured=hardware.measured, processes=team.size, steps=training.steps, seconds=seconds,
        memory=memory, limit=hardware.memory, disk=disk, step=per_part,
        step_factor=factor * hardware.step_factor, exchanged=exchanged, exchange_seconds=exchange,
    )  # fmt: skip


def _stages(
    config: RunConfig, model: Skeleton, hardware: Hardware, team: Team, shape: StepShape, disk: Mapping[str, float],
    step: float, stored_width: int, blocks: int, item: int, link: float,
) -> dict[str, float]:  # fmt: skip
    """Seconds by stage."""
    training, evaluation, context = config.training, config.evaluation, config.corpus.context_tokens
    per_pass = _tokens_per_pass(config)

    def forward(n_blocks: int) -> float:
        """Seconds a token: computing, reading the weights once a pass, or starting the kernels."""
        computing = model.block_flops(n_blocks, context) / hardware.model
        if not hardware.on_gpu:
            return computing
        reading = model.block_parameters(n_blocks) * item / hardware.streamed
        return max(computing, reading / per_pass, n_blocks * hardware.launch / per_pass)

    def encoding(rows: float) -> float:
        """Seconds to encode rows at full precision with the whole dictionary, as after training."""
        product = 2.0 * rows * shape.width * training.features / hardware.full
        return product + rows * training.features * 2.0 * FLOAT / hardware.searched

    # The first position of each window is left out.
    harvested = config.harvest_tokens * context / (context - 1)
    harvest = harvested * forward(blocks) / team.size
    harvest += harvested * stored_width * item * (team.size - 1) / team.size / link
    if config.stored:
        harvest += 2.0 * disk["activations"] / hardware.disk  # written, and read again for its checksums
    sample = min(SAMPLE, training.tokens) * (shape.width + shape.output_width) / 2 * FLOAT
    training_s = training.steps * step + READS_OF_SAMPLE * sample / hardware.streamed
    checkpoint = disk["checkpoint"] / hardware.disk / team.feature_parts
    checkpoints = 1 + training_s // max(LEAST_SECONDS_BETWEEN, checkpoint / SHARE_OF_TIME)
    logits = READS_OF_LOGITS * model.vocabulary * FLOAT / hardware.streamed
    unembedding = model.unembedding_flops / (hardware.model if hardware.on_gpu else hardware.full)
    whole = forward(model.n_layers) + unembedding + logits
    evaluate = evaluation.tokens * forward(blocks) + encoding(evaluation.tokens + evaluation.ce_tokens)
    evaluate += EVALUATION_PASSES * evaluation.ce_tokens * whole
    indexed = min(config.index_tokens, config.harvest_tokens) if config.stored else config.index_tokens
    directions = 2.0 * training.features * shape.output_width * (training.features + model.vocabulary)
    index = indexed * (0.0 if config.stored else forward(blocks)) + encoding(indexed)
    index += indexed * shape.entries * INDEX_ACTIVATION + training.features * INDEX_FEATURE
    index += directions / hardware.full
    return {
        "start": hardware.start + model.parameters * item / hardware.disk,
        "harvest": harvest,
        "train": training_s + checkpoints * checkpoint,
        "save": 2.0 * disk["dictionary"] / hardware.disk,
        "evaluate": evaluate,
        "index": index,
    }


def _with_advice(found: Estimate, config: RunConfig, model: Skeleton, hardware: Hardware, team: Team) -> Estimate:
    """The same, with what would fit."""
    advice: list[str] = []

    def fits(features: int, parts: int) -> bool:
        fewer = config.model_copy(update={"training": config.training.model_copy(update={"features": features})})
        return _estimate(fewer, model, hardware, Team(parts, team.row_parts)).fits

    features = config.training.features
    few, many = team.feature_parts, min(features, MOST_PARTS)
    if few < many and fits(features, many):
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if fits(features, middle) else (middle, many)
        advice.append(f"{many * team.row_parts:,} processes of such memory")
    least, most = 0, features  # fits at the one, not at the other
    while most - least > max(1, most // 200):
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle, team.feature_parts) else (least, middle)
    if least:
        advice.append(f"features ≤ {_round_down(least):,}")
    if not advice:
        advice.append("a smaller model, batch or buffer: even one feature does not fit beside them")
    needs = (
        f"needs {gigabytes(found.peak_memory)} a process (at '{found.peak_stage}'); {hardware.name} has "
        f"{gigabytes(found.limit)}: " + ", or ".join(advice)
    )
    return replace(found, advice=needs)


def gigabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"


def _round_down(number: int) -> int:
    """To two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _tokens_per_pass(config: RunConfig) -> int:
    return max(1, TOKENS_PER_FORWARD // config.corpus.context_tokens) * config.corpus.context_tokens


def _item_size(config: RunConfig, hardware: Hardware) -> int:
    """Bytes of a weight of the model: as `models.load_model` decides."""
    if config.model.dtype == "auto":
        return 2 if hardware.on_gpu else 4
    return 4 if config.model.dtype == "float32" else 2


def check(config: RunConfig, model: Skeleton, team: Team = Team()) -> None:
    """Raise SiteError or ConfigError where a run of such settings would."""
    context, training = config.corpus.context_tokens, config.training
    for site in config.sites:
        model.width(site)
    if context > model.context_limit:
        raise ConfigError(
            f"windows of {context} tokens are longer than the {model.context_limit} that '{model.name}' can read: "
            "choose a smaller --context"
        )
    for what, count, parts in (
        ("features", training.features, team.feature_parts),
        ("tokens of a batch", training.batch_tokens, team.row_parts),
    ):
        if count < parts:
            raise ConfigError(f"{count} {what} cannot be divided among {parts} processes: ask for more, or start fewer")
    if training.tokens < training.batch_tokens:
        raise ConfigError(
            f"{training.tokens} tokens do not make one batch of {training.batch_tokens}: ask for more tokens, or "
            "smaller batches"
        )
