"""The weight of a penalty at which a training ends with the L0 asked for, by trial.

A penalty's weight decides the L0, but nobody can tell how before training. Both are followed on a logarithmic scale, on
which they are nearly a falling line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

TOLERANCE = 0.1
# A step further than this is not taken, whatever the L0, and in all none further from the start than this: where a
# training is too short for its learning rate, no weight gives the L0.
FURTHEST, FURTHEST_IN_ALL = 16.0, 1024.0
# An L0 of zero has no logarithm.
LEAST_L0 = 0.1


@dataclass
class Search:
    """What trials have shown so far. ``measure`` trains with a weight and returns the L0."""

    measure: Callable[[float], float]
    tried: dict[float, float] = field(default_factory=dict[float, float])

    def weight_for(self, l0: float, *, start: float, trials: int) -> float:
        """The weight, of those tried, whose L0 is nearest: within the tolerance unless there is none or trials end."""
        weight = start
        for _ in range(trials):
            if weight not in self.tried:
                self.tried[weight] = self.measure(weight)
            if close(self.tried[weight], l0):
                break
            weight = self.next_weight(l0)
            if weight in self.tried:
                break
        return min(self.tried, key=lambda weight: abs(_log(self.tried[weight]) - math.log(l0)))

    def next_weight(self, l0: float) -> float:
        """Where the line through what was tried meets the L0; rounded, so that a name can hold it."""
        points = sorted((math.log(weight), _log(found)) for weight, found in self.tried.items())
        dense = [point for point in points if point[1] > math.log(l0)]
        sparse = [point for point in points if point[1] <= math.log(l0)]
        if dense and sparse:
            (low, low_l0), (high, high_l0) = dense[-1], sparse[0]
            share = (low_l0 - math.log(l0)) / (low_l0 - high_l0)
            # Away from the ends: a line that is far from straight would else be followed in tiny steps.
            return _rounded(low + (high - low) * min(0.9, max(0.1, share)))
        edge, edge_l0 = dense[-1] if dense else sparse[0]
        # The line goes on as between the two nearest; where it hardly falls, the next step is a long one.
        nearest = points[-2:] if dense else points[:2]
        slope = _slope(nearest) if len(nearest) > 1 else -1.0
        step = _within(FURTHEST, 1.1 * (math.log(l0) - edge_l0) / min(slope, -0.05))
        start = math.log(next(iter(self.tried)))
        return _rounded(start + _within(FURTHEST_IN_ALL, edge + step - start))


def close(found: float, l0: float) -> bool:
    """Whether an L0 is the one asked for."""
    return abs(found / l0 - 1) <= TOLERANCE


def _log(l0: float) -> float:
    return math.log(max(l0, LEAST_L0))


def _within(factor: float, log_step: float) -> float:
    return max(-math.log(factor), min(math.log(factor), log_step))


def _slope(points: list[tuple[float, float]]) -> float:
    (first, first_l0), (last, last_l0) = points[0], points[-1]
    return (last_l0 - first_l0) / (last - first)


def _rounded(log_weight: float) -> float:
    return float(f"{math.exp(log_weight):.4g}")
