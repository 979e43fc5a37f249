"""The best dictionary of each budget: a parabola in log features through the best learning rate of each width.

Everything is computed for the measured losses and for draws of the bootstrap together. R draws (the first one is what
was measured), W widths, Q learning rates. Losses, features and rates are natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semascope.scaling.law import Optimum, Point, Value
from semascope.scaling.plan import LEAST_WIDTHS, training_flops

Array = NDArray[np.float64]

DRAWS = 200
# A parabola describes a loss near its minimum: of more widths, the nearest ones.
NEAREST_WIDTHS = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """The losses of one budget. ``log_losses_RWQ``: NaN where a learning rate is missing."""

    budget: float
    log_features_W: Array
    log_rates_WQ: Array
    log_losses_RWQ: Array
    log_unexplained_WQ: Array
    log_dead_WQ: Array

    @classmethod
    def of(cls, budget: float, points: Sequence[Point]) -> Curve:
        """From the points of a budget and one L0."""
        features = sorted({point.features for point in points})
        factors = sorted({point.rate_factor for point in points})

        def table(of: Sequence[float]) -> Array:
            values = np.full((len(features), len(factors)), np.nan)
            for point, value in zip(points, of, strict=True):
                values[features.index(point.features), factors.index(point.rate_factor)] = math.log(value)
            return values

        return cls(
            budget,
            np.log(features),
            table([point.learning_rate for point in points]),
            table([point.loss for point in points])[None],
            table([max(1 - point.explained_variance, 1e-9) for point in points]),
            # Half a feature more, so that none has a logarithm too.
            table([(point.dead_fraction * point.features + 0.5) / (point.features + 1) for point in points]),
        )

    def with_draws(self, deviations_RWQ: Array) -> Curve:
        """The same with noisy losses after the measured ones."""
        losses = np.concatenate([self.log_losses_RWQ[:1], self.log_losses_RWQ[:1] + deviations_RWQ])
        return replace(self, log_losses_RWQ=losses)

    @property
    def log_best_RW(self) -> Array:
        """The loss of the best learning rate of each width."""
        return np.nanmin(self.log_losses_RWQ, axis=2)

    @property
    def nearest(self) -> NDArray[np.int64]:
        """Which widths the parabola goes through: those nearest to the least loss."""
        distance_W = np.abs(self.log_features_W - self.log_features_W[self.log_best_RW[0].argmin()])
        return np.sort(np.argsort(distance_W, kind="stable")[:NEAREST_WIDTHS])

    def parabola(self, log_y_RW: Array) -> tuple[Array, Array]:
        """Coefficients [3, R] (constant, linear, quadratic) in centred log features, and residuals [R, W nearest]."""
        powers_W3 = np.vander(self.centred_W, 3, increasing=True)
        coefficients_3R = np.linalg.pinv(powers_W3) @ log_y_RW[:, self.nearest].T
        return coefficients_3R, log_y_RW[:, self.nearest] - (powers_W3 @ coefficients_3R).T

    @property
    def centre(self) -> float:
        """Where the parabola's coordinate is 0."""
        return float(self.log_features_W[self.nearest].mean())

    @property
    def centred_W(self) -> Array:
        """The coordinates of the nearest widths."""
        return self.log_features_W[self.nearest] - self.centre


@dataclass(frozen=True, slots=True)
class LogOptimum:
    """Logarithms at the optimum [R], or a reason why there is none. ``log_rate_R``: None where no width brackets it."""

    budget: float
    log_features_R: Array
    log_loss_R: Array
    log_unexplained_R: Array
    log_dead_R: Array
    log_rate_R: Array | None
    widths: int
    note: str | None

    def described(self, *, batch_tokens: int, width: int) -> Optimum:
        """The numbers with their intervals, for activations of that width."""
        steps = math.log(self.budget / training_flops(width, 1, batch_tokens))
        unexplained = value_of(self.log_unexplained_R)
        high, low = unexplained.interval or (1.0, 1.0)
        return Optimum(
            budget=self.budget,
            widths=self.widths,
            features=value_of(self.log_features_R),
            steps=value_of(steps - self.log_features_R),
            learning_rate=None if self.log_rate_R is None else value_of(self.log_rate_R),
            loss=value_of(self.log_loss_R),
            explained_variance=Value(value=1 - unexplained.value, interval=(1 - low, 1 - high)),
            dead_fraction=value_of(self.log_dead_R),
            note=self.note,
        )


def find_optima(curves: Sequence[Curve], *, seed: int) -> tuple[list[LogOptimum], list[Optimum]]:
    """The optima that lie between the widths, with draws, and for the other budgets what is the matter.

    The noise of a training is what the losses scatter about the parabolas, the same for all budgets.
    """
    usable = [curve for curve in curves if len(curve.log_features_W) >= LEAST_WIDTHS]
    problems = [
        Optimum(
            budget=curve.budget,
            widths=len(curve.log_features_W),
            note=f"{len(curve.log_features_W)} widths are trained, and {LEAST_WIDTHS} are needed",
        )
        for curve in curves
        if curve not in usable
    ]
    freedom = sum(len(curve.nearest) - 3 for curve in usable)
    squares = sum(float((curve.parabola(curve.log_best_RW[:1])[1] ** 2).sum()) for curve in usable)
    generator = np.random.default_rng(seed)
    found: list[LogOptimum] = []
    # The noise is not known better than from these residuals: the fewer, the more it may be.
    deviation_R = np.sqrt(squares / generator.chisquare(max(freedom, 1), DRAWS))
    for curve in usable:
        noise_RWQ = generator.standard_normal((DRAWS, *curve.log_losses_RWQ.shape[1:])) * deviation_R[:, None, None]
        if (problem := _problem(curve)) is not None:
            problems.append(problem)
        else:
            found.append(_optimum(curve.with_draws(noise_RWQ)))
    return found, problems


def _problem(curve: Curve) -> Optimum | None:
    """Where the loss has no minimum between the widths."""
    best_W, features_W = curve.log_best_RW[0], np.exp(curve.log_features_W)
    least = int(best_W.argmin())
    [_, slope, bend] = curve.parabola(curve.log_best_RW[:1])[0][:, 0]
    vertex = -slope / (2 * bend) if bend > 0 else -math.copysign(math.inf, slope)
    edge = None
    if least == 0 or vertex < curve.centred_W[0]:
        edge = "low"
    elif least == len(best_W) - 1 or vertex > curve.centred_W[-1]:
        edge = "high"
    if edge is None:
        return None
    end = features_W[0] if edge == "low" else features_W[-1]
    more = [round(end / 4), round(end / 2)] if edge == "low" else [round(2 * end), round(4 * end)]
    return Optimum(
        budget=curve.budget,
        widths=len(features_W),
        edge=edge,
        note=f"the loss still falls at the {'smallest' if edge == 'low' else 'largest'} width, {end:.0f}: "
        f"add {more[0]} and {more[1]} to --features",
    )


def _optimum(curve: Curve) -> LogOptimum:
    (_, slope_R, bend_R), _ = curve.parabola(curve.log_best_RW)
    first, last = curve.centred_W[0], curve.centred_W[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex_R = np.where(bend_R > 0, -slope_R / (2 * bend_R), np.where(slope_R < 0, last, first))
    vertex_R = vertex_R.clip(first, last)

    def at_vertex(log_y_RW: Array) -> Array:
        constant_R, slope_R, bend_R = curve.parabola(log_y_RW)[0]
        return constant_R + slope_R * vertex_R + bend_R * vertex_R**2

    best_Q = np.nanargmin(curve.log_losses_RWQ[0], axis=1)
    rows = np.arange(len(best_Q))
    log_features_R = curve.centre + vertex_R
    return LogOptimum(
        curve.budget,
        log_features_R,
        at_vertex(curve.log_best_RW),
        # What chance does to the loss it does to what stays unexplained.
        at_vertex(curve.log_unexplained_WQ[rows, best_Q] + curve.log_best_RW - curve.log_best_RW[:1]),
        np.interp(log_features_R, curve.log_features_W, curve.log_dead_WQ[rows, best_Q]),
        _log_rates(curve, log_features_R),
        len(curve.log_features_W),
        _rates_note(curve),
    )


def _log_rates(curve: Curve, log_features_R: Array) -> Array | None:
    """The best learning rate at the optimum: a line in log features through the widths that bracket theirs."""
    widths: list[float] = []
    rates: list[Array] = []
    for width in curve.nearest:
        losses_RQ, rates_Q = curve.log_losses_RWQ[:, width], curve.log_rates_WQ[width]
        known = ~np.isnan(rates_Q)
        losses_RQ, rates_Q = losses_RQ[:, known], rates_Q[known]
        least = int(losses_RQ[0].argmin())
        if 0 < least < len(rates_Q) - 1:
            around = slice(least - 1, least + 2)
            widths.append(float(curve.log_features_W[width]))
            rates.append(_vertex(rates_Q[around], losses_RQ[:, around]))
    if not widths:
        return None
    rates_Rw, widths_w = np.stack(rates, axis=1), np.array(widths)
    if len(widths) < 2:
        return rates_Rw[:, 0]
    slope_R, constant_R = np.polyfit(widths_w, rates_Rw.T, 1)
    return constant_R + slope_R * log_features_R.clip(widths_w[0], widths_w[-1])


def _vertex(x_3: Array, y_R3: Array) -> Array:
    """Where parabolas through three points have their minimum, between the outer points."""
    bend_R, slope_R, _ = np.polyfit(x_3 - x_3[1], y_R3.T, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex_R = np.where(bend_R > 0, -slope_R / (2 * bend_R), -np.sign(slope_R) * math.inf)
    return x_3[1] + vertex_R.clip(x_3[0] - x_3[1], x_3[2] - x_3[1])


def _rates_note(curve: Curve) -> str | None:
    """What to do when the best learning rate of the best width is the highest or the lowest."""
    width = int(curve.log_best_RW[0].argmin())
    known = np.flatnonzero(~np.isnan(curve.log_rates_WQ[width]))
    least = int(np.nanargmin(curve.log_losses_RWQ[0, width]))
    if len(known) < 3 or known[0] < least < known[-1]:
        return None
    end, factor = ("lowest", "half") if least == known[0] else ("highest", "twice")
    return (
        f"the {end} learning rate is the best, {math.exp(curve.log_rates_WQ[width, least]):.2g}: "
        f"add one of {factor} its multiple to --rates"
    )


def value_of(log_R: Array) -> Value:
    """The measured value with the interval of its draws."""
    low, high = np.quantile(np.exp(log_R[1:]), [0.025, 0.975]).tolist()
    value = float(np.exp(log_R[0]))
    return Value(value=value, interval=(min(low, value), max(high, value)))
