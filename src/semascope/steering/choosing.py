"""A strength chosen by its effect on half of the texts, and whether the effect is one on the other half.

V variants (the feature, then random features), P texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from semascope.evaluation import interval


@dataclass(frozen=True, slots=True)
class Tested:
    """The effect of a strength on texts that did not choose it, with its 95 % interval by bootstrap over the texts, and
    where that of a random feature lies with 95 % probability."""

    effect: float
    interval: tuple[float, float]
    controls: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """``chosen``: the acceptable strength with the largest effect beyond that of random features on half of the texts;
    ``tested``: what the other half says of it. ``recommended``: the same strength, or None when the damage is too large
    at all strengths, or the effect is not above where that of random features lies."""

    recommended: float | None
    chosen: float | None
    tested: Tested | None


def choose(effects: Sequence[tuple[float, Tensor]], *, seed: int) -> Choice:
    """Among acceptable strengths, each with its effects [V, P]."""
    if not effects:
        return Choice(None, None, None)
    strength, effect_VP = max(effects, key=lambda one: float(one[1][0, ::2].mean() - one[1][1:, ::2].mean()))
    tested_VP = effect_VP[:, 1::2]
    counted = torch.stack([tested_VP[0], torch.ones_like(tested_VP[0])], dim=1)
    tested = Tested(
        effect=float(tested_VP[0].mean()),
        interval=interval(lambda sums: sums[:, 0] / sums[:, 1], counted, seed=seed),
        controls=likely(tested_VP[1:].mean(dim=1)),
    )
    return Choice(strength if tested.effect > tested.controls[1] else None, strength, tested)


def likely(controls_C: Tensor) -> tuple[float, float]:
    """The 95 % prediction interval for one more of C controls, by Student's t."""
    n, mean = len(controls_C), float(controls_C.mean())
    reach = float(stats.t.ppf(0.975, n - 1)) * float(controls_C.std()) * math.sqrt(1 + 1 / n)
    return mean - reach, mean + reach
