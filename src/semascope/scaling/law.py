"""A scaling law as data: ``law.json``, read back, checked, and asked what a budget of compute buys.

A law holds for one model, site, variant and text. Compute is in FLOP as the field counts it (see `plan`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.config import ModelConfig
from semascope.errors import ConfigError, DamagedError, MismatchError
from semascope.files import read_json, write_json
from semascope.sae import AnyVariant
from semascope.scaling.plan import flop, training_flops
from semascope.text import CorpusConfig

FILE = "law.json"

Interval = tuple[float, float]
"""A 95 % interval."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Data):
    """One trained dictionary of the grid, measured on held-out activations.

    ``loss``: what the law is about (`Law.loss`). ``rate_factor``: its learning rate in multiples of the default.
    ``normalized_mse``: ``Σ‖x − x̂‖² / Σ‖x‖²``. ``dead_fraction``: features silent for the last
    ``dead_counted_over_tokens`` tokens of training.
    """

    run: str
    budget: float
    flops: float
    features: int
    tokens: int
    steps: int
    learning_rate: float
    rate_factor: float
    asked_l0: float | None
    loss: float
    explained_variance: float
    normalized_mse: float
    l0: float
    dead_fraction: float
    dead_counted_over_tokens: int


class Value(_Data):
    """A number with its 95 % interval; None where there is no telling."""

    value: float
    interval: Interval | None


class Optimum(_Data):
    """The best dictionary that a budget buys, between the widths that were trained; or why there is none to be seen.

    ``edge``: "low" or "high" where the loss still falls at the smallest or largest width. ``note``: what to do then.
    """

    budget: float
    widths: int
    features: Value | None = None
    steps: Value | None = None
    learning_rate: Value | None = None
    loss: Value | None = None
    explained_variance: Value | None = None
    dead_fraction: Value | None = None
    edge: Literal["low", "high"] | None = None
    note: str | None = None


class Fit(_Data):
    """``y = scale · (x / x_unit)^exponent``, above ``floor`` where there is one.

    ``draws``: the parameters (floor, scale, exponent) of the bootstrap, from which intervals come. ``problem``: why the
    data do not support the fit; there are no parameters then, or such as nothing should be built on.
    """

    x: str
    y: str
    points: int
    x_unit: float = 1.0
    x_range: Interval | None = None
    floor: Value | None = None
    scale: Value | None = None
    exponent: Value | None = None
    draws: list[tuple[float, float, float]] = Field(default=[], repr=False)
    problem: str | None = None

    def at(self, x: float) -> Value:
        """The value at ``x`` with its interval. Raises ConfigError where there is no fit."""
        if self.scale is None or self.exponent is None:
            raise ConfigError(f"there is no law of {self.y} against {self.x}: {self.problem}")
        parameters = (self.floor.value if self.floor else 0.0, self.scale.value, self.exponent.value)
        value = float(_power(self.x_unit, x, np.array([parameters]))[0])
        if not self.draws:
            return Value(value=value, interval=None)
        low, high = np.quantile(_power(self.x_unit, x, np.array(self.draws)), [0.025, 0.975]).tolist()
        return Value(value=value, interval=(min(low, value), max(high, value)))

    def extrapolates(self, x: float) -> bool:
        """Whether ``x`` lies outside what was fitted, by more than rounding."""
        return self.x_range is None or not self.x_range[0] * 0.99 <= x <= self.x_range[1] * 1.01


def _power(unit: float, x: float, parameters_P3: NDArray[np.float64]) -> NDArray[np.float64]:
    floor, scale, exponent = parameters_P3.T
    return floor + scale * (x / unit) ** exponent


class LawAtL0(_Data):
    """The laws of dictionaries with one L0 (``asked_l0``; None where the loss decides it).

    Against compute, at the optimum of each budget: ``loss`` with a floor, ``loss_without_floor``, ``features``,
    ``steps``, ``unexplained`` (1 − explained variance), ``dead_fraction``. ``learning_rate`` is against features.
    """

    asked_l0: float | None
    optima: list[Optimum]
    loss: Fit
    loss_without_floor: Fit
    features: Fit
    steps: Fit
    learning_rate: Fit
    unexplained: Fit
    dead_fraction: Fit

    @property
    def named(self) -> dict[str, Fit]:
        """The laws, as people call them."""
        return {
            "Loss against compute": self.loss,
            "Loss against compute, without a floor": self.loss_without_floor,
            "Features against compute": self.features,
            "Steps against compute": self.steps,
            "Learning rate against features": self.learning_rate,
            "Dead features against compute": self.dead_fraction,
        }

    @property
    def remarks(self) -> list[str]:
        """What is the matter with budgets and laws, and what to do."""
        budgets = [f"{flop(optimum.budget)} FLOP: {optimum.note}" for optimum in self.optima if optimum.note]
        return budgets + [f"{name}: no law: {fit.problem}" for name, fit in self.named.items() if fit.problem]


class JointLaw(_Data):
    """``L(n, k) = exp(α + β_k ln k + β_n ln n + γ ln k ln n) + exp(ζ + η ln k)`` of features n and L0 k (Gao et al.,
    "Scaling and evaluating sparse autoencoders", 2024), of the longest training of each; or the problem with it.
    """

    points: int
    parameters: dict[str, Value] = {}
    problem: str | None = None


class Prediction(_Data):
    """The best dictionary for a budget of ``flops``. ``extrapolated``: how many times the budget is beyond the largest
    (or below the smallest, as a number under 1) that was trained; None within them.
    """

    flops: float
    asked_l0: float | None
    features: Value
    tokens: Value
    steps: Value
    learning_rate: Value
    loss: Value
    explained_variance: Value
    dead_fraction: Value
    extrapolated: float | None


class Law(_Data):
    """``law.json``. ``missing``: how many dictionaries of the plan were not trained yet when it was fitted."""

    format: Literal[1] = 1
    model: ModelConfig
    model_revision: str | None
    site: str
    width: int
    corpus: CorpusConfig
    variant: AnyVariant
    loss: Literal["unexplained variance", "squared error and L1 penalty"]
    budgets: list[float]
    batch_tokens: int
    stored_tokens: int
    held_out_tokens: int
    flops_formula: str
    points: list[Point]
    missing: int
    laws: list[LawAtL0]
    joint: JointLaw | None = None
    versions: dict[str, str]
    command: str | None = None

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """From a folder of ``semascope scaling``, or the file itself. Raises DamagedError when there is none."""
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise DamagedError(f"there is no law at {file}: 'semascope scaling' trains and fits one")
        try:
            return cls.model_validate(read_json(file))
        except ValidationError as error:
            raise DamagedError(f"{file} is no scaling law that this version reads ({error})") from error

    def write(self, folder: Path) -> None:
        """As ``law.json`` in a folder."""
        write_json(folder / FILE, self.model_dump(mode="json"))

    def require(self, model: str, site: str) -> None:
        """Raises MismatchError when the law is of another model or site."""
        if (self.model.name, self.site) != (model, site):
            raise MismatchError(
                f"the law is of {self.model.name} at {self.site}, and {model} at {site} was asked for: "
                "laws differ between models; fit one with 'semascope scaling', or say that this one shall do (--borrow)"
            )

    def at_l0(self, l0: float | None = None) -> LawAtL0:
        """The laws of one L0; without one, of the only one that there is. Raises ConfigError for another."""
        if l0 is None and len(self.laws) == 1:
            return self.laws[0]
        for law in self.laws:
            if law.asked_l0 == l0:
                return law
        known = ", ".join(f"{law.asked_l0:g}" for law in self.laws if law.asked_l0 is not None)
        raise ConfigError(f"the law knows dictionaries of L0 {known or 'as their loss decides'}: choose one of these")

    def predict(self, flops: float, *, l0: float | None = None, width: int | None = None) -> Prediction:
        """What to train with so much compute, and what comes of it. Raises ConfigError where a law is missing.

        Features follow from the law, tokens from features and compute. ``width``: of the activations of another model
        for which this law shall do.
        """
        if not (flops > 0 and math.isfinite(flops)):
            raise ConfigError(f"a budget of {flops:g} FLOP buys nothing: expected a number above 0")
        law = self.at_l0(l0)
        features = law.features.at(flops)
        loss = (law.loss if law.loss.problem is None else law.loss_without_floor).at(flops)
        tokens = _mapped(features, lambda n: flops / training_flops(width or self.width, max(n, 1.0), 1))
        unexplained = loss if self.loss == "unexplained variance" else law.unexplained.at(flops)
        low, high = min(self.budgets), max(self.budgets)
        beyond = flops / high if flops > high * 1.01 else flops / low if flops < low * 0.99 else None
        return Prediction(
            flops=flops,
            asked_l0=law.asked_l0,
            features=features,
            tokens=tokens,
            steps=_mapped(tokens, lambda n: n / self.batch_tokens),
            learning_rate=law.learning_rate.at(features.value),
            loss=loss,
            explained_variance=_mapped(unexplained, lambda share: 1 - share),
            dead_fraction=_mapped(law.dead_fraction.at(flops), lambda share: min(share, 1.0)),
            extrapolated=beyond,
        )


def _mapped(value: Value, function: Callable[[float], float]) -> Value:
    """A monotonous function of a value and of its interval."""
    interval = value.interval and sorted(map(function, value.interval))
    return Value(value=function(value.value), interval=(interval[0], interval[1]) if interval else None)
