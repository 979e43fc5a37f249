"""Settings of a training, and how those left open are derived from the others."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from semascope.hardware import multiplies_bfloat16
from semascope.sae import AnyVariant, TopKConfig


class TrainingConfig(BaseModel):
    """How a dictionary is trained. ``None`` means: derived by `resolved`, printed and saved.

    ``tokens`` counts activations shown to the dictionary, all passes together. ``dead_after_tokens``: a feature that
    has not fired for so many tokens is dead. ``precision``: of the encoder's product (`semascope.kernels.Precision`);
    "auto" is "fast" where the device multiplies bfloat16 matrices in hardware.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: AnyVariant = TopKConfig()
    features: int = Field(default=8192, ge=1)
    tokens: int = Field(default=2_000_000, ge=1)
    batch_tokens: int = Field(default=2048, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    dead_after_tokens: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "full", "fast"] = "auto"
    buffer_tokens: int = Field(default=1 << 17, ge=1)
    seed: int = Field(default=0, ge=0)

    @property
    def steps(self) -> int:
        """The number of optimizer steps."""
        return max(1, self.tokens // self.batch_tokens)

    def resolved(self, device: torch.device | str = "cpu") -> TrainingConfig:
        """The same settings with nothing left open, for a training on that device."""
        return self.model_copy(
            update={
                "learning_rate": self.learning_rate
                or self.variant.default_learning_rate(features=self.features, steps=self.steps),
                # The field's 10 million, or an eighth of a run that is shorter than 80 million.
                "precision": _precision(self.precision, device),
                "dead_after_tokens": self.dead_after_tokens or min(10_000_000, max(1, self.tokens // 8)),
            }
        )


def _precision(asked: Literal["auto", "full", "fast"], device: torch.device | str) -> Literal["full", "fast"]:
    if asked == "auto":
        return "fast" if multiplies_bfloat16(device) else "full"
    return asked
