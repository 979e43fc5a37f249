"""From the points of a grid to the laws of the best dictionaries: what a budget buys, against the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semascope.scaling.fits import Series, fit_power, fit_with_floor
from semascope.scaling.law import LawAtL0, Point
from semascope.scaling.optima import Array, Curve, find_optima
from semascope.scaling.plan import training_flops


def law_at_l0(
    points: Sequence[Point], *, asked_l0: float | None, budgets: Sequence[float], width: int, batch_tokens: int,
    seed: int = 0,
) -> LawAtL0:  # fmt: skip
    """Fit the laws of one L0 to the points that ask for it. ``width``: of the activations."""
    own = [point for point in points if point.asked_l0 == asked_l0]
    curves = [Curve.of(budget, [point for point in own if point.budget == budget]) for budget in budgets]
    optima, problems = find_optima(curves, seed=seed)
    described = [optimum.described(batch_tokens=batch_tokens, width=width) for optimum in optima]
    log_budgets_N = np.log([optimum.budget for optimum in optima])
    features_RN = _columns([optimum.log_features_R for optimum in optima])
    loss = Series("compute", "loss", log_budgets_N, _columns([optimum.log_loss_R for optimum in optima]))
    rated = [optimum for optimum in optima if optimum.log_rate_R is not None]

    def against_compute(name: str, log_y_RN: Array) -> Series:
        return Series("compute", name, log_budgets_N, log_y_RN)

    return LawAtL0(
        asked_l0=asked_l0,
        optima=sorted([*described, *problems], key=lambda optimum: optimum.budget),
        loss=fit_with_floor(loss, seed=seed),
        loss_without_floor=fit_power(loss, seed=seed),
        features=fit_power(against_compute("features", features_RN), seed=seed),
        steps=fit_power(
            against_compute("steps", log_budgets_N - np.log(training_flops(width, 1, batch_tokens)) - features_RN),
            seed=seed,
        ),
        learning_rate=fit_power(
            Series(
                "features",
                "learning rate",
                _columns([optimum.log_features_R for optimum in rated]),
                _columns([optimum.log_rate_R for optimum in rated if optimum.log_rate_R is not None]),
                "budgets have their optimum between the widths and between the learning rates",
            ),
            seed=seed,
        ),
        unexplained=fit_power(
            against_compute("unexplained variance", _columns([optimum.log_unexplained_R for optimum in optima])),
            seed=seed,
        ),
        dead_fraction=fit_power(
            against_compute("dead fraction", _columns([optimum.log_dead_R for optimum in optima])), seed=seed
        ),
    )


def _columns(values: Sequence[Array]) -> Array:
    """[R, N] of N arrays [R]; [1, 0] of none."""
    return np.stack(values, axis=1) if values else np.zeros((1, 0))
