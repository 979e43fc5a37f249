"""Power laws through a few points, with bootstrap intervals; and what to say where the points do not support one.

Points come with draws (see `optima`). Where they scatter about a law more than their draws do, the draws are widened to
that scatter: points that know too little of their own error do not make a law exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from semascope.scaling.law import Fit, JointLaw, Point, Value
from semascope.scaling.optima import DRAWS

Array = NDArray[np.float64]

LEAST_POINTS = 3
LEAST_POINTS_WITH_FLOOR = 4
# An exponent that may be anything within so much says nothing.
WIDEST_EXPONENT = 1.0
# A floor between these parts of the lowest loss may be any.
NO_FLOOR, ALL_FLOOR = 0.05, 0.9
# Errors of a logarithm count linearly from here on (Huber). Trainings scatter by less than a percent; with a much
# smaller limit the minimum lies in a valley of kinks that no method passes.
HUBER = 0.01


@dataclass(frozen=True, slots=True)
class Series:
    """Natural logarithms of the points of a law: [R, N], measured first and then as drawn, or [N] where exact."""

    x_name: str
    y_name: str
    log_x: Array
    log_y_RN: Array
    points_are: str = "budgets have their optimum between the widths"


def fit_power(series: Series, *, seed: int) -> Fit:
    """``y = scale · (x / x_unit)^exponent``: a line through the logarithms, by least squares."""
    points = series.log_y_RN.shape[1]
    if points < LEAST_POINTS:
        return _refused(series, LEAST_POINTS)
    unit = float(np.atleast_2d(series.log_x)[0].mean())
    x_RN = np.broadcast_to(series.log_x - unit, series.log_y_RN.shape)
    slope, constant = np.polyfit(x_RN[0], series.log_y_RN[0], 1)
    fitted_N = constant + slope * x_RN[0]
    drawn_RN = _drawn(series.log_y_RN, fitted_N, parameters=2, seed=seed)
    centred_RN = x_RN[1:] - x_RN[1:].mean(axis=1, keepdims=True)
    slope_R = (centred_RN * drawn_RN).sum(axis=1) / (centred_RN**2).sum(axis=1)
    constant_R = drawn_RN.mean(axis=1) - slope_R * x_RN[1:].mean(axis=1)
    draws = np.stack([np.zeros(len(slope_R)), np.exp(constant_R), slope_R], axis=1)
    return _fit(series, unit, (0.0, math.exp(constant), float(slope)), draws, floor=False)


def fit_with_floor(series: Series, *, seed: int) -> Fit:
    """``y = floor + scale · (x / x_unit)^exponent`` with an exponent below 0: what more compute cannot remove is the
    floor. Robust: errors of the logarithm, Huber's loss, from several starts.
    """
    points = series.log_y_RN.shape[1]
    if points < LEAST_POINTS_WITH_FLOOR:
        return _refused(series, LEAST_POINTS_WITH_FLOOR)
    unit = float(series.log_x.mean())
    x_N, y_N = series.log_x - unit, series.log_y_RN[0]
    starts = [(share, exponent) for share in (0.05, 0.3, 0.6, 0.9) for exponent in (0.1, 0.3, 1.0)]
    best = _fit_floor(x_N, y_N, starts)
    fitted_N = np.log(best[0] + best[1] * np.exp(best[2] * x_N))
    drawn_RN = _drawn(series.log_y_RN, fitted_N, parameters=3, seed=seed)
    start = (min(max(best[0] / math.exp(y_N.min()), 0.01), 0.99), -best[2])
    draws = np.array([_fit_floor(x_N, one_N, [start]) for one_N in drawn_RN])
    fit = _fit(series, unit, best, draws, floor=True)
    assert fit.floor is not None
    low, high = fit.floor.interval or (0.0, 0.0)
    lowest = math.exp(y_N.min())
    if fit.problem is None and low < NO_FLOOR * lowest and high > ALL_FLOOR * lowest:
        problem = f"the floor may be anything from {low:.3g} to {high:.3g}: budgets over a larger range would tell"
        return fit.model_copy(update={"problem": problem})
    return fit


def fit_joint(points: Sequence[Point], *, seed: int) -> JointLaw:
    """Loss against features and L0 together (see `JointLaw`), of the longest training of each at its best rate."""
    longest: dict[tuple[int, float], Point] = {}
    for point in points:
        assert point.asked_l0 is not None
        place = (point.features, point.asked_l0)
        if place not in longest or (-point.tokens, point.loss) < (-longest[place].tokens, longest[place].loss):
            longest[place] = point
    names = ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta")
    widths = {l0: sum(k == l0 for _, k in longest) for _, l0 in longest}
    if len(widths) < 2 or min(widths.values()) < 4 or len(longest) <= len(names):
        return JointLaw(points=len(longest), problem="a law in features and L0 needs two L0s of four widths each")
    log_n_P, log_k_P = (np.log(np.array(values, np.float64)) for values in zip(*longest, strict=True))
    # About their means the parameters hardly depend on each other, which is how the minimum is found.
    n_P, k_P = log_n_P - log_n_P.mean(), log_k_P - log_k_P.mean()
    y_P, ones_P = np.log([point.loss for point in longest.values()]), np.ones_like(n_P)

    def parts(p: Array) -> tuple[Array, Array]:
        return p[0] + p[1] * k_P + p[2] * n_P + p[3] * k_P * n_P, p[4] + p[5] * k_P

    def predicted(p: Array) -> Array:
        return np.logaddexp(*parts(p))

    def slopes(p: Array) -> Array:
        power_P, floor_P = parts(p)
        share_P = 1 / (1 + np.exp(floor_P - power_P))
        of_power, of_floor = [ones_P, k_P, n_P, k_P * n_P], [ones_P, k_P]
        return np.stack([*(share_P * x_P for x_P in of_power), *((1 - share_P) * x_P for x_P in of_floor)], axis=1)

    starts = [
        np.array([y_P.mean() + math.log(1 - share), 0.0, slope, 0.0, y_P.min() + math.log(share), 0.0])
        for slope in (-0.1, -0.3)
        for share in (0.1, 0.5, 0.9)
    ]
    best = _robust(lambda p: predicted(p) - y_P, starts, slopes)
    drawn_RP = _drawn(y_P[None], predicted(best), parameters=len(names), seed=seed)
    draws = np.array([_robust(lambda p, one=one: predicted(p) - one, [best], slopes) for one in drawn_RP])
    uncentred = _uncentred(np.stack([best, *draws]), log_n_P.mean(), log_k_P.mean())
    lows, highs = np.quantile(uncentred[1:], [0.025, 0.975], axis=0).tolist()
    values = zip(names, uncentred[0].tolist(), lows, highs, strict=True)
    parameters = {name: Value(value=value, interval=(low, high)) for name, value, low, high in values}
    low, high = parameters["beta_n"].interval or (0.0, 0.0)
    unknown = high - low > WIDEST_EXPONENT
    problem = f"the exponent of the features may be anything from {low:.2f} to {high:.2f}" if unknown else None
    return JointLaw(points=len(longest), parameters=parameters, problem=problem)


def _uncentred(p_P6: Array, n: float, k: float) -> Array:
    """The parameters of the joint law in ln n and ln k, from those about their means n and k."""
    alpha, beta_k, beta_n, gamma, zeta, eta = p_P6.T
    level = alpha - beta_k * k - beta_n * n + gamma * k * n
    terms = (level, beta_k - gamma * n, beta_n - gamma * k, gamma, zeta - eta * k, eta)
    return np.stack(terms, axis=1)


def _refused(series: Series, needed: int) -> Fit:
    points = series.log_y_RN.shape[1]
    return Fit(
        x=series.x_name, y=series.y_name, points=points, problem=f"{points} {series.points_are}: {needed} are needed"
    )


def _fit(series: Series, unit: float, parameters: tuple[float, float, float], draws: Array, *, floor: bool) -> Fit:
    lows, highs = np.quantile(draws, [0.025, 0.975], axis=0).tolist()
    values = [
        Value(value=value, interval=(min(low, value), max(high, value)))
        for value, low, high in zip(parameters, lows, highs, strict=True)
    ]
    low, high = lows[2], highs[2]
    unknown = high - low > WIDEST_EXPONENT
    x_N = np.exp(np.atleast_2d(series.log_x)[0])
    return Fit(
        x=series.x_name,
        y=series.y_name,
        points=series.log_y_RN.shape[1],
        x_unit=math.exp(unit),
        x_range=(float(x_N.min()), float(x_N.max())),
        floor=values[0] if floor else None,
        scale=values[1],
        exponent=values[2],
        draws=[(float(f"{f:.5g}"), float(f"{s:.5g}"), float(f"{e:.5g}")) for f, s, e in draws],
        problem=f"the exponent may be anything from {low:.2f} to {high:.2f}" if unknown else None,
    )


def _drawn(log_y_RN: Array, fitted_N: Array, *, parameters: int, seed: int) -> Array:
    """[R, N]: the fitted points with the noise of their draws, or as much as they scatter if that is more."""
    generator = np.random.default_rng(seed)
    deviations_RN = log_y_RN[1:] - log_y_RN[0] if len(log_y_RN) > 1 else np.zeros((DRAWS, len(fitted_N)))
    freedom = len(fitted_N) - parameters
    scatter = float(((log_y_RN[0] - fitted_N) ** 2).sum()) / freedom
    lacking = max(0.0, scatter - float((deviations_RN**2).mean()))
    spread_R1 = np.sqrt(lacking * freedom / generator.chisquare(freedom, (len(deviations_RN), 1)))
    return fitted_N + deviations_RN + spread_R1 * generator.standard_normal(deviations_RN.shape)


def _fit_floor(x_N: Array, log_y_N: Array, starts: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Floor, scale and exponent from starts (floor as a share of the lowest y, exponent without its sign).

    The share is a sigmoid of what is varied, and the exponent an exponential, so that neither leaves its range.
    """
    lowest = math.exp(log_y_N.min())

    def parts(p: Array) -> tuple[float, float, Array]:
        share, exponent = 1 / (1 + math.exp(-p[0])), math.exp(p[2])
        return share, exponent, np.exp(p[1] - exponent * x_N)

    def error(p: Array) -> Array:
        share, _, power_N = parts(p)
        return np.log(share * lowest + power_N) - log_y_N

    def slopes(p: Array) -> Array:
        share, exponent, power_N = parts(p)
        of_floor_N = np.full_like(x_N, share * (1 - share) * lowest)
        return np.stack([of_floor_N, power_N, -exponent * x_N * power_N], axis=1) / (share * lowest + power_N)[:, None]

    first = [
        np.array([math.log(share / (1 - share)), math.log(math.exp(log_y_N.mean()) - share * lowest), math.log(power)])
        for share, power in starts
    ]
    share, exponent, _ = parts(best := _robust(error, first, slopes))
    return share * lowest, math.exp(best[1]), -exponent


def _robust(error: Callable[[Array], Array], starts: Sequence[Array], slopes: Callable[[Array], Array]) -> Array:
    """The parameters with the least Huber loss, from whichever start comes lowest."""
    options: dict[str, Any] = {"jac": slopes, "loss": "huber", "f_scale": HUBER, "ftol": 1e-6, "max_nfev": 40}
    results = [least_squares(error, start, **options) for start in starts]
    costs = [float(result.cost) for result in results]
    return np.asarray(results[costs.index(min(costs))].x, np.float64)
