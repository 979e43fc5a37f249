"""The settings of a run: everything that decides what it computes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semascope.models import DEFAULT_MODEL
from semascope.models.settings import DtypeName, PrecisionName
from semascope.text import CorpusConfig
from semascope.training import TrainingConfig


class ModelConfig(BaseModel):
    """Which language model, and how it runs; see `models.load_model`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    dtype: DtypeName = "auto"
    precision: PrecisionName = "auto"
    trust_remote_code: bool = False


class EvaluationConfig(BaseModel):
    """How much held-out text is used. ``ce_tokens`` of the ``tokens`` go through the whole model, three times each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(default=16_384, ge=1)
    ce_tokens: int = Field(default=8_192, ge=1)
    concept_texts: int = Field(default=80, ge=8)
    seed: int = 0


class RunConfig(BaseModel):
    """Everything that decides what a run computes.

    ``passes``: with more than one, ``training.tokens / passes`` activations are harvested to disk and shown several
    times; with one, they are not kept unless ``keep_activations`` says so. ``index_tokens``: how much of the training
    text the feature index covers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    site: str
    corpus: CorpusConfig = CorpusConfig()
    training: TrainingConfig = TrainingConfig()
    passes: int = Field(default=1, ge=1)
    keep_activations: bool = False
    index_tokens: int = Field(default=500_000, ge=1)
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def stored(self) -> bool:
        """Whether activations are kept on disk."""
        return self.keep_activations or self.passes > 1

    @property
    def harvest_tokens(self) -> int:
        """How many activations are taken from the model for training."""
        return max(1, self.training.tokens // self.passes)


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """The dotted names of the settings in which two configurations differ."""

    def flat(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {name: value}
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}" if name else key).items()}

    a, b = flat(one.model_dump(mode="json"), ""), flat(other.model_dump(mode="json"), "")
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))
