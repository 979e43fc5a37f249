"""What a training step counts: operations and bytes of each of its parts, and what processes exchange.

The counts are those of the kernels (docs/ARCHITECTURE.md has them for one case). B tokens of a batch, D width, O width
of what is predicted, F features, k active entries a token, T features that a batch touches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semascope.estimate.hardware import Hardware
from semascope.kernels.cpu_encode import SPARE_CANDIDATES, SPARE_SHARE
from semascope.sae import VariantConfig

FLOAT, HALF = 4, 2
# How much longer a step of a variant takes than one of topk: the mean of docs/BENCHMARKS.md, "full", both sizes.
VARIANT_FACTORS = {"topk": 1.0, "batchtopk": 1.06, "jumprelu": 1.16, "gated": 1.11, "l1": 1.06, "kl": 1.03}
MATRYOSHKA_FACTOR = 1.04  # its step over that of batchtopk, from the same table
# An L1 with a coefficient and no L0 to hold: the paper reports fewer than 300 active features at every size.
UNASKED_L0 = 300


@dataclass(frozen=True, slots=True)
class StepShape:
    """The sizes of a step, for one process: ``batch`` and ``features`` are the rows and features that it has.

    ``entries``: active features a token of all processes, k; ``own_entries``: those of this one's features.
    ``touched``: how many of its features a batch touches. ``fast``: whether a bfloat16 product proposes candidates.
    """

    batch: float
    features: float
    width: int
    output_width: int
    entries: float
    own_entries: float
    touched: float
    fast: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step: operations, and bytes by how they travel."""

    name: str
    flops: float = 0.0
    streamed: float = 0.0
    gathered: float = 0.0
    searched: float = 0.0

    def seconds(self, hardware: Hardware) -> float:
        """How long it takes when nothing overlaps."""
        return (
            self.flops / hardware.products
            + self.streamed / hardware.streamed
            + self.gathered / hardware.gathered
            + self.searched / hardware.searched
        )


def active_entries(variant: VariantConfig) -> float:
    """How many features a token is expected to have."""
    target = variant.target_l0()
    return UNASKED_L0 if target is None else target


def touched_features(features: float, entries: float) -> float:
    """How many of the features a batch with so many entries touches, if all fire equally often.

    ``F (1 − (1 − 1/F)^entries)``; real features fire unequally, which makes it fewer.
    """
    return -features * math.expm1(entries * math.log1p(-1 / features)) if features > 1 else features


def step_parts(shape: StepShape) -> list[Part]:
    """The parts of a step of topk, one after another."""
    s, rows_of_weights = shape, shape.features * shape.width * FLOAT
    item = HALF if s.fast else FLOAT
    candidates = s.own_entries + max(SPARE_CANDIDATES, SPARE_SHARE * s.own_entries)
    decoder_gather = s.batch * s.own_entries * s.output_width * FLOAT
    encoder_gather = s.batch * s.own_entries * s.width * FLOAT
    decoder_rows, encoder_rows = s.touched * s.output_width * FLOAT, s.touched * s.width * FLOAT
    parts = [Part("product", flops=2.0 * s.batch * s.width * s.features)]
    if s.fast:
        parts.append(Part("weights to bfloat16", streamed=s.features * s.width * (FLOAT + HALF)))
    parts.append(Part("selection", searched=2.0 * s.batch * s.features * item))
    if s.fast:
        exact = s.batch * candidates * s.width * FLOAT
        parts.append(Part("exact values of candidates", streamed=min(rows_of_weights, exact), gathered=exact))
    return [
        *parts,
        Part("decode", streamed=decoder_rows, gathered=decoder_gather),
        Part("gradients of codes and decoder", streamed=2 * decoder_rows, gathered=decoder_gather),
        Part("gradient of the encoder", streamed=2 * encoder_rows, gathered=encoder_gather),
        Part("gradient's norm", streamed=decoder_rows + encoder_rows),
        Part("Adam", streamed=7 * (decoder_rows + encoder_rows)),
        Part("rows of the batch", streamed=10.0 * s.batch * (s.width + s.output_width) * FLOAT),
    ]


def variant_factor(variant: VariantConfig) -> float:
    """How much longer a step takes than one of topk with as many entries."""
    factor = VARIANT_FACTORS[str(type(variant).model_fields["variant"].default)]
    return factor * (MATRYOSHKA_FACTOR if len(variant.prefixes) > 1 else 1.0)


def step_seconds(parts: Sequence[Part], hardware: Hardware) -> float:
    """How long the parts take on hardware."""
    return hardware.step_factor * sum(part.seconds(hardware) for part in parts)


def exchanged_bytes(shape: StepShape, variant: VariantConfig, feature_parts: int, row_parts: int) -> dict[str, float]:
    """What one process receives in a step, in bytes, while no feature is dead.

    As in docs/ARCHITECTURE.md, "More than one process".
    An all-reduce over n processes counts as 2 (n − 1) / n times its tensor.
    """
    s, n, m = shape, feature_parts, row_parts
    name = str(type(variant).model_fields["variant"].default)
    proposals = {"topk": n - 1, "batchtopk": n * m - 1}.get(name, 0)
    sums = len(variant.prefixes) * (2 if name == "gated" else 1)
    shared = 0.0
    if m > 1:
        rows = 2 * FLOAT * s.touched * (s.width + s.output_width + 1) + 2.0 * 3 * s.features
        shared = rows * (m - 1) / m
    return {
        "candidates": s.batch * FLOAT * s.entries * proposals,
        "reconstruction": s.batch * 2 * FLOAT * s.output_width * sums * (n - 1) / n,
        "gradients": shared,
    }
