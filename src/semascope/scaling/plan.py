"""From budgets of compute to a grid of dictionaries: several widths for a budget, several learning rates for a width.

Compute is counted as the field does: a dense training step costs 6 FLOP a token and weight (2 forward, 4 backward), and
a dictionary of F features of width D has 2·D·F weights, so a training costs 12·D·F FLOP a token. This engine does less:
the encoder's product, 2·D·F a token, and what the active features need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.config import EvaluationConfig, ModelConfig, RunConfig
from semascope.errors import ConfigError, DamagedError
from semascope.files import read_json, write_json
from semascope.sae import AnyVariant, TopKConfig
from semascope.text import CorpusConfig
from semascope.training import TrainingConfig

FLOPS_FORMULA = "12 · width · features · tokens"

# A parabola needs three widths, and a fourth to tell how well it fits.
LEAST_WIDTHS = 4
# As many doublings as are trained where nobody says which.
USUAL_WIDTHS = 6
# Below this the learning rate falls before the dictionary has found its features.
LEAST_STEPS = 50
# Where the optimum is looked for first: a guess, which the edges of the grid correct.
TOKENS_PER_FEATURE = 200
# Fewer features than so many times the L0 are no sparse code.
LEAST_FEATURES_PER_L0 = 4

FILE = "plan.json"


def training_flops(width: int, features: float, tokens: float) -> float:
    """What the field counts for a training: ``12 · D · F`` a token."""
    return 12.0 * width * features * tokens


def name_of(config: RunConfig) -> str:
    """What tells a dictionary from the others of a study, as the name of its folder."""
    training, l0 = config.training, config.training.variant.target_l0()
    sparsity = "" if l0 is None else f"-l{l0:g}"
    return f"f{training.features}{sparsity}-t{training.tokens}-r{training.learning_rate:.3g}"


def flop(budget: float) -> str:
    """A budget as people write it: ``4e12``."""
    return f"{budget:.3g}".replace("e+", "e")


def engine_flops(width: int, features: int, tokens: int, l0: float) -> float:
    """What this engine multiplies and adds: the encoder's product, and for each active feature the decoder's row, its
    gradient, that of the code, and the encoder's gradient. The dense start of ``l1`` and the optimizer come on top.
    """
    return 2.0 * width * tokens * (features + 4 * l0)


class ScalingConfig(BaseModel):
    """What a scaling study trains.

    ``budgets``: in FLOP, see `training_flops`. ``features``: the widths to choose from, None for doublings about a
    guess of the optimum. ``l0s``: several L0s of the variant, empty for its own. ``rate_factors``: learning rates in
    multiples of the variant's default for those features and steps. ``stored_tokens``: activations harvested, shown at
    most ``passes`` times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    site: str
    corpus: CorpusConfig = CorpusConfig()
    variant: AnyVariant = TopKConfig()
    budgets: Annotated[tuple[float, ...], Field(min_length=1)]
    features: tuple[int, ...] | None = None
    l0s: tuple[int, ...] = ()
    rate_factors: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0, 2.0, 4.0)
    stored_tokens: int = Field(default=1_000_000, ge=1)
    passes: int = Field(default=4, ge=1)
    batch_tokens: int = Field(default=512, ge=1)
    held_out_tokens: int = Field(default=16_384, ge=1)
    seed: int = Field(default=0, ge=0)

    @property
    def most_tokens(self) -> int:
        """How many tokens a training can be shown."""
        return self.stored_tokens * self.passes


@dataclass(frozen=True, slots=True)
class Cell:
    """One dictionary of the grid."""

    budget: float
    rate_factor: float
    config: RunConfig

    @property
    def learning_rate(self) -> float:
        """In the dictionary's training."""
        assert self.config.training.learning_rate is not None
        return self.config.training.learning_rate

    @property
    def name(self) -> str:
        """Of its folder."""
        return name_of(self.config)


@dataclass(frozen=True, slots=True)
class Plan:
    """The grid, by budget from the smallest on. ``width``: of the activations."""

    asked: ScalingConfig
    width: int
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, asked: ScalingConfig, width: int) -> Self:
        """Lay out the grid. Raises ConfigError for budgets that buy no grid, saying which would."""
        for name, values in (
            ("budgets", asked.budgets), ("learning rates", asked.rate_factors), ("widths", asked.features or (1,))
        ):  # fmt: skip
            if not all(0 < value < math.inf for value in values):
                raise ConfigError(f"the {name} {_listed(values)} must all be numbers above 0")
            if len(set(values)) < len(values):
                raise ConfigError(f"the {name} {_listed(values)} name one twice")
        variants = [asked.variant.with_l0(l0) for l0 in asked.l0s] or [asked.variant]
        l0 = max(variant.target_l0() or 1 for variant in variants)
        cells = [
            _cell(asked, width, budget, features, variant, factor)
            for budget in sorted(asked.budgets)
            for features in _widths(asked, width, budget, l0)
            for variant, factor in product(variants, asked.rate_factors)
        ]
        return cls(asked, width, tuple(cells))

    @classmethod
    def read(cls, folder: Path) -> tuple[Self, str | None]:
        """The plan of a study's folder and the command that made it. Raises DamagedError when there is none."""
        file = folder / FILE
        if not file.is_file():
            raise DamagedError(f"{folder} holds no {FILE}: it is no scaling study; 'semascope scaling' makes one")
        content = read_json(file)
        try:
            return cls.of(ScalingConfig.model_validate(content.get("asked")), content["width"]), content.get("command")
        except (ValidationError, KeyError) as error:
            raise DamagedError(f"{file} does not describe a scaling study: {error}") from error

    def write(self, folder: Path, command: str | None) -> None:
        """As ``plan.json``."""
        content = {"asked": self.asked.model_dump(mode="json"), "width": self.width, "command": command}
        write_json(folder / FILE, content)

    def of_budget(self, budget: float) -> list[Cell]:
        """The dictionaries of one budget."""
        return [cell for cell in self.cells if cell.budget == budget]

    @property
    def budgets(self) -> list[float]:
        """From the smallest to the largest."""
        return sorted(self.asked.budgets)

    def engine_flops(self, cells: list[Cell] | None = None) -> float:
        """What this engine computes for some dictionaries, or for all, about."""
        trainings = [cell.config.training for cell in (self.cells if cells is None else cells)]
        return sum(engine_flops(self.width, t.features, t.tokens, t.variant.target_l0() or 32) for t in trainings)


def _widths(asked: ScalingConfig, width: int, budget: float, l0: float) -> list[int]:
    """The widths that a budget can train: from enough steps to no more tokens than there are."""
    product_of_both = budget / training_flops(width, 1, 1)
    largest = math.floor(product_of_both / (LEAST_STEPS * asked.batch_tokens))
    smallest = max(math.ceil(product_of_both / asked.most_tokens), math.ceil(l0 * LEAST_FEATURES_PER_L0))
    widths = sorted(asked.features) if asked.features else [2**exponent for exponent in range(4, 31)]
    fitting = [features for features in widths if smallest <= features <= largest]
    if len(fitting) < LEAST_WIDTHS:
        raise ConfigError(
            f"a budget of {flop(budget)} FLOP at width {width} trains {smallest:,} to {largest:,} features: with fewer "
            f"it needs more than {asked.stored_tokens:,} activations shown {asked.passes} times (or is no sparse code "
            f"at L0 {l0:g}), with more it has fewer than {LEAST_STEPS} steps of {asked.batch_tokens:,} tokens. "
            f"{len(fitting)} of the widths {_listed(widths) if asked.features else '(powers of two)'} are among them, "
            f"and {LEAST_WIDTHS} are needed: choose other budgets or widths (--budgets, --features), more activations "
            "or passes (--tokens, --passes), or smaller batches (--batch)"
        )
    if asked.features:
        return fitting
    guess = (product_of_both / TOKENS_PER_FEATURE) ** 0.5
    nearest = sorted(fitting, key=lambda features: abs(math.log(features / guess)))
    return sorted(nearest[:USUAL_WIDTHS])


def _cell(asked: ScalingConfig, width: int, budget: float, features: int, variant: AnyVariant, factor: float) -> Cell:
    steps = round(budget / training_flops(width, features, asked.batch_tokens))
    training = TrainingConfig(
        variant=variant,
        features=features,
        tokens=steps * asked.batch_tokens,
        batch_tokens=asked.batch_tokens,
        learning_rate=factor * variant.default_learning_rate(features=features, steps=steps),
        seed=asked.seed,
    )
    config = RunConfig(
        model=asked.model,
        site=asked.site,
        corpus=asked.corpus,
        training=training,
        passes=math.ceil(training.tokens / asked.stored_tokens),
        keep_activations=True,
        evaluation=EvaluationConfig(tokens=asked.held_out_tokens),
    )
    return Cell(budget, factor, config)


def _listed(values: tuple[float, ...] | list[int]) -> str:
    return ", ".join(f"{value:g}" for value in values)
