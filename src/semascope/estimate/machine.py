"""Measuring this machine in seconds: the rates that an estimate needs, at the sizes of the run."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from semascope.config import RunConfig
from semascope.estimate.estimate import check, step_shape
from semascope.estimate.hardware import Hardware
from semascope.estimate.step import FLOAT, HALF, StepShape, step_parts, step_seconds
from semascope.kernels import Pattern, Precision, TopK, encode, kernels_for
from semascope.models.settings import Settings, resolve
from semascope.models.skeleton import Skeleton
from semascope.records import Site
from semascope.source import TOKENS_PER_FORWARD
from semascope.training import Columns, Trainer

REPEATS = 3
# So many blocks of the model are run.
BLOCKS = 2
# One product of so many operations is long enough to be measured and short enough to wait for.
PRODUCT_OPERATIONS = 3e9
# The dictionary of which a step is tried, at most: enough for every part of a step to show.
STEP_OPERATIONS, LEAST_STEP_FEATURES = 1e10, 512
STREAMED_BYTES, GATHERED_FEATURES = 64 << 20, 16_384
# Gloo copies what it sends through memory, by one processor.
LINK_SHARE = 0.25


Clock = Callable[[], float]
Timed = Callable[[Callable[[], Any], torch.device], float]
"""Seconds of some work on a device."""


def measure_here(
    config: RunConfig, model: Skeleton, *, start: float = 0.0, clock: Clock = time.perf_counter
) -> Hardware:
    """The rates of this machine's CPU, or its first GPU, for a run of these sizes; takes some seconds.

    ``start``: seconds that a command takes before it begins to work. ``clock``: `time.process_time` tells, of one
    thread on a machine that others use, what it would do undisturbed.

    Raises what `estimate` does for settings that no run can have.
    """
    check(config, model)
    timed = partial(_least_seconds, clock=clock)
    settings = resolve(config.model.device, config.model.dtype, config.model.precision)
    device = settings.device
    precision = config.training.resolved(device).precision
    shape = step_shape(config, model, fast=precision == "fast")
    products, full, searched = _encoder_rates(shape, device, timed)
    streamed = _streamed(shape.width, device, timed)
    rates = Hardware(
        name=torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine",
        memory=_memory(device),
        products=products,
        full=full,
        model=_model_rate(config, model, settings, timed),
        streamed=streamed,
        gathered=_gathered(shape, device, timed),
        searched=searched,
        link=LINK_SHARE * streamed,
        start=start,
        processes=os.cpu_count() or 1,
        on_gpu=device.type == "cuda",
        measured=True,
    )
    return dataclasses.replace(rates, step_factor=_step_factor(config, model, rates, device, timed))


def _encoder_rates(shape: StepShape, device: torch.device, timed: Timed) -> tuple[float, float, float]:
    """Operations a second of the training's product and of a float32 one; bytes a second of the search."""
    rows, width = round(shape.batch), shape.width
    features = max(256, min(round(shape.features), int(PRODUCT_OPERATIONS / (2 * rows * width))))
    x_BD, W_FD = torch.randn(rows, width, device=device), torch.randn(features, width, device=device)
    bias_F = torch.zeros(features, device=device)
    operations = 2.0 * rows * width * features
    full_s = timed(lambda: x_BD @ W_FD.T, device)
    product_s, item = full_s, FLOAT
    if shape.fast:
        half_BD, half_FD = x_BD.bfloat16(), W_FD.bfloat16()
        product_s, item = timed(lambda: half_BD @ half_FD.T, device), HALF
    k = max(1, min(round(shape.own_entries), features // 2))
    precision: Precision = "fast" if shape.fast else "full"
    with torch.no_grad():
        encode_s = timed(lambda: encode(x_BD, None, W_FD, bias_F, [TopK(k)], precision=precision), device)
    # What beside the product takes a tenth of it cannot be told from noise.
    searching = max(encode_s - product_s, 0.1 * product_s)
    return operations / product_s, operations / full_s, 2.0 * rows * features * item / searching


def _streamed(width: int, device: torch.device, timed: Timed) -> float:
    """Bytes a second of Adam over rows: gradient read; moments and weights read and written."""
    rows = max(64, STREAMED_BYTES // (FLOAT * width))
    gradient_TD, weights_FD, means_FD, squares_FD = (torch.zeros(rows, width, device=device) for _ in range(4))
    steps_F = torch.zeros(rows, dtype=torch.int32, device=device)
    rows_T, factor = torch.arange(rows, device=device), torch.ones((), device=device)

    def adam() -> None:
        kernels_for(weights_FD).adam_rows(
            rows_T, gradient_TD, weights_FD, means_FD, squares_FD, steps_F,
            rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, factor=factor, unit_rows=False,
        )  # fmt: skip

    return 7.0 * gradient_TD.nbytes / timed(adam, device)


def _gathered(shape: StepShape, device: torch.device, timed: Timed) -> float:
    """Bytes a second of decoding: rows of a matrix that the entries name, added up."""
    rows, k = round(shape.batch), max(1, round(shape.own_entries))
    features = max(k, min(round(shape.features), GATHERED_FEATURES))
    W_FO = torch.randn(features, shape.output_width, device=device)
    ids_K = torch.randint(features, (rows * k,), device=device)
    pattern = Pattern.from_counts(torch.full((rows,), k, device=device), ids_K, features)
    values_K = torch.rand(rows * k, device=device)
    seconds = timed(lambda: kernels_for(W_FO).decode(pattern, values_K, W_FO), device)
    return rows * k * shape.output_width * FLOAT / seconds


def _model_rate(config: RunConfig, model: Skeleton, settings: Settings, timed: Timed) -> float:
    """Operations a second of the first blocks, in windows and passes of the size that a harvest has."""
    blocks, context = min(BLOCKS, model.n_layers), config.corpus.context_tokens
    cut = model.cut(blocks, settings)
    windows = max(1, TOKENS_PER_FORWARD // context)
    tokens_BT = torch.randint(cut.vocabulary, (windows, context), device=settings.device)
    seconds = timed(lambda: cut.activations(tokens_BT, Site(blocks - 1)), settings.device)
    return model.block_flops(blocks, context) * tokens_BT.numel() / seconds


def _step_factor(config: RunConfig, model: Skeleton, rates: Hardware, device: torch.device, timed: Timed) -> float:
    """How much longer a step of a smaller dictionary takes than its parts."""
    widths = [model.width(site) for site in config.sites]
    batch = config.training.batch_tokens
    most = max(LEAST_STEP_FEATURES, int(STEP_OPERATIONS / (2 * batch * widths[0])))
    smaller = config.training.model_copy(update={"features": min(config.training.features, most)})
    shape = step_shape(
        config.model_copy(update={"training": smaller}),
        model,
        fast=config.training.resolved(device).precision == "fast",
    )
    outputs = slice(widths[0], sum(widths)) if config.output_site is not None else None
    x_BD = torch.randn(batch, sum(widths), device=device)
    with tempfile.TemporaryDirectory() as folder:
        columns = Columns(slice(0, widths[0]), outputs, config.skip)
        trainer = Trainer(smaller, columns, folder=Path(folder), device=device)
        trainer.initialize(x_BD)
        trainer.begin(after_step=0)
        seconds = timed(lambda: trainer.step(x_BD, 0), device)
    return seconds / step_seconds(step_parts(shape), rates)


def _least_seconds(work: Callable[[], Any], device: torch.device, *, clock: Clock) -> float:
    """The least of a few, after a first one that compiles and warms up."""
    least = float("inf")
    for repeat in range(REPEATS + 1):
        started = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            least = min(least, clock() - started)
    return least


def _memory(device: torch.device) -> float:
    """Bytes: of the GPU, or of the machine."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
