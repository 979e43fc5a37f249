"""The settings of a run: everything that decides what it computes."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from semascope.models import DEFAULT_MODEL
from semascope.models.settings import DtypeName, PrecisionName
from semascope.records import Site
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

    def exact(self) -> Self:
        """The same model in full precision, and in float32 unless another type was asked for.

        For comparing passes that hardly differ: roundings of a lower precision are larger than most effects.
        """
        return self.model_copy(update={"precision": "full", "dtype": "float32" if self.dtype == "auto" else self.dtype})


class EvaluationConfig(BaseModel):
    """How much held-out text is used. ``ce_tokens`` of the ``tokens`` go through the whole model, three times each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(default=16_384, ge=1)
    ce_tokens: int = Field(default=8_192, ge=1)
    concept_texts: int = Field(default=80, ge=8)
    seed: int = 0


class RunConfig(BaseModel):
    """Everything that decides what a run computes.

    ``output_site``: makes the dictionary a transcoder, which predicts the activations there from those at ``site``,
    with a linear ``skip`` connection beside its features or without.

    ``passes``: with more than one, ``training.tokens / passes`` activations are harvested to disk and shown several
    times; with one, they are not kept unless ``keep_activations`` says so. ``index_tokens``: how much of the training
    text the feature index covers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    site: str
    output_site: str | None = None
    skip: bool = False
    corpus: CorpusConfig = CorpusConfig()
    training: TrainingConfig = TrainingConfig()
    passes: int = Field(default=1, ge=1)
    keep_activations: bool = False
    index_tokens: int = Field(default=500_000, ge=1)
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _skips_to_somewhere(self) -> Self:
        if self.skip and self.output_site is None:
            raise ValueError("a skip connection belongs to a transcoder: give the site that it predicts (--to)")
        return self

    @property
    def sites(self) -> list[Site]:
        """The sites whose activations it needs: first that of the features. Raises SiteError."""
        return [Site.parse(site) for site in (self.site, self.output_site) if site is not None]

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
