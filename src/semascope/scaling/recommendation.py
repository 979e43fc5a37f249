"""From a budget to a run: which dictionary to train by a law, what should come of it, and what it takes.

Time becomes compute through the estimate of the whole command (start, harvest, training, saving, evaluation): the most
FLOP whose run ends in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from semascope.config import RunConfig
from semascope.errors import ConfigError
from semascope.estimate import HERE, Estimate, Hardware, Team, estimate, known_gpu
from semascope.models.skeleton import Skeleton
from semascope.scaling.budget import Budget
from semascope.scaling.law import Law, Prediction
from semascope.scaling.plan import LEAST_FEATURES_PER_L0, LEAST_STEPS, flop, training_flops

# A budget is found to such a part of itself; estimates are not nearly as exact.
PRECISION = 1e-3


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``prediction``: what the law says. ``config``: the run, in whole features and batches. ``estimate``: what it
    takes, and whether it fits.
    """

    prediction: Prediction
    config: RunConfig
    estimate: Estimate

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "prediction": self.prediction.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "estimate": self.estimate.as_json(),
        }


def recommend(
    law: Law, budget: Budget, base: RunConfig, model: Skeleton, measure: Callable[[RunConfig], Hardware], *,
    l0: float | None = None,
) -> Recommendation:  # fmt: skip
    """The dictionary that a budget should train.

    Args:
        law: fitted to this model and site (`Law.require`), or to others that are taken to be alike.
        budget: compute, or time on hardware.
        base: the run but for its training, of which only the seed is kept.
        model: that of the run.
        measure: the rates of this machine for a run of such sizes (`measure_here`); called once, for a budget here.
        l0: which, where the law knows several.

    Raises ConfigError for a budget that buys no dictionary, and where the law has no fit to answer from.
    """
    team = Team(budget.processes)

    def predicted(flops: float) -> Prediction:
        return law.predict(flops, l0=l0, width=width)

    def sized(flops: float) -> RunConfig:
        return _sized(law, predicted(flops), base, width)

    def is_enough(flops: float) -> bool:
        training = sized(flops).training
        steps = flops / training_flops(width, training.features, training.batch_tokens)
        least = max(LEAST_FEATURES_PER_L0 * (training.variant.target_l0() or 1), team.feature_parts)
        return training.features >= least and steps >= LEAST_STEPS

    width = model.width(base.sites[0])
    least = _most(lambda flops: not is_enough(flops), 1.0) * (1 + PRECISION)
    if budget.flops is not None and not is_enough(budget.flops):
        training = sized(budget.flops).training
        raise ConfigError(
            f"a budget of {flop(budget.flops)} FLOP buys no dictionary: by the law {training.features:,} features for "
            f"{training.steps:,} steps of {training.batch_tokens:,} tokens. The least that makes sense is "
            f"{flop(least)} FLOP ({LEAST_STEPS} steps, {LEAST_FEATURES_PER_L0} features for each active one)"
        )
    reference = budget.flops or max(least, *law.budgets)
    hardware = measure(sized(reference)) if budget.hardware == HERE else known_gpu(budget.hardware)

    def estimated(flops: float) -> Estimate:
        return estimate(sized(flops), model, hardware, team)

    if budget.flops is not None:
        flops = budget.flops
    else:
        assert budget.seconds is not None
        seconds = budget.seconds
        if (shortest := estimated(least)).total_seconds > seconds:
            training = sized(least).training
            raise ConfigError(
                f"{seconds:,.0f} s are too few: the least dictionary that makes sense, {training.features:,} features "
                f"and {training.tokens:,} tokens, takes {shortest.total_seconds:,.0f} s on {hardware.name}, of which "
                f"its training {shortest.seconds['train']:,.0f} s"
            )
        flops = _most(lambda flops: estimated(flops).total_seconds <= seconds, least)
    return Recommendation(predicted(flops), sized(flops), estimated(flops))


def _sized(law: Law, prediction: Prediction, base: RunConfig, width: int) -> RunConfig:
    """In whole features, and as many whole batches as the compute buys for them."""
    features = max(1, round(prediction.features.value))
    steps = max(1, round(prediction.flops / training_flops(width, features, law.batch_tokens)))
    asked = prediction.asked_l0
    training = base.training.model_copy(
        update={
            "variant": law.variant if asked is None else law.variant.with_l0(round(asked)),
            "features": features,
            "tokens": steps * law.batch_tokens,
            "batch_tokens": law.batch_tokens,
            "learning_rate": float(f"{prediction.learning_rate.value:.3g}"),
        }
    )
    return base.model_copy(update={"training": training})


def _most(holds: Callable[[float], bool], least: float) -> float:
    """The largest number up to which it holds; ``least`` where it does not hold there."""
    low, high = least, least
    while holds(high):
        low, high = high, 4 * high
    while high > low * (1 + PRECISION):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
