"""What every sparse autoencoder has in common: parameters, inference, folding. Mathematics only.

B rows, D width of the activations, F features, K active entries of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Generic, Self

import torch
from pydantic import BaseModel, ConfigDict, field_validator
from torch import Tensor, nn
from typing_extensions import TypeVar

from semascope.errors import MismatchError
from semascope.kernels import Pattern, Precision, Selection, decode, encode
from semascope.records import Codes
from semascope.sae.reconstruction import Reconstruction, reconstruction

MATRYOSHKA_PREFIXES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


class VariantConfig(BaseModel):
    """Settings of one variant; each variant declares its own beside its mathematics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefixes: tuple[float, ...] = (1.0,)
    """Parts of the dictionary, ascending to 1, that must reconstruct by themselves: more than one is Matryoshka."""

    @field_validator("prefixes")
    @classmethod
    def _ascend_to_one(cls, prefixes: tuple[float, ...]) -> tuple[float, ...]:
        if not prefixes or prefixes[-1] != 1 or prefixes[0] <= 0 or any(a >= b for a, b in pairwise(prefixes)):
            raise ValueError("prefixes must be positive and ascend to 1, such as 0.0625, 0.25, 1")
        return prefixes

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """The learning rate when the user asks for none, from the number of features and of optimizer steps."""
        raise NotImplementedError

    def target_l0(self) -> float | None:
        """The L0 that these settings ask for, or None where the loss alone decides it."""
        raise NotImplementedError

    def with_l0(self, l0: int) -> Self:
        """The same settings for another L0."""
        raise NotImplementedError

    def adam_betas(self) -> tuple[float, float]:
        """Adam's decay rates of the two moments."""
        return 0.9, 0.999


ConfigT = TypeVar("ConfigT", bound=VariantConfig, default=VariantConfig, covariant=True)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training stands: what a loss may depend on besides its batch.

    ``fraction``: of the run that is done, from 0 to 1. ``dead_features``: int64 ids of the features that have not
    fired for a while, or None when there are none.
    """

    fraction: float = 1.0
    dead_features: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Losses:
    """A loss and what it saw on the way: ``total`` is differentiable, the rest is for statistics.

    ``squared_error``: ``‖x̂ − x‖²`` summed over the batch.
    """

    total: Tensor
    terms: dict[str, Tensor]
    squared_error: Tensor
    codes: Codes

    @classmethod
    def of(cls, terms: dict[str, Tensor], squared_error: Tensor, codes: Codes) -> Losses:
        """The sum of the terms."""
        total = torch.stack(list(terms.values())).sum()
        return cls(total, {name: term.detach() for name, term in terms.items()}, squared_error.detach(), codes)


class SparseAutoencoder(nn.Module, ABC, Generic[ConfigT]):
    """A dictionary of F directions in a space of width D, and the encoder that finds a sparse code for a vector.

    ``x̂ = b_dec + Σ_i f_i(x) · W_dec_i``, with ``f`` from ``(x − b_dec·[centred]) · W_enc + b_enc``. Weights are
    feature-major: row i of ``W_enc_FD`` and of ``W_dec_FD`` belongs to feature i.

    ``precision``: of the encoder's product in training, see `semascope.kernels.Precision`; inference is always in full.
    """

    centred: ClassVar[bool]
    unit_rows: ClassVar[tuple[str, ...]] = ()
    """The parameters whose rows have norm 1 throughout training."""

    def __init__(self, width: int, features: int, config: ConfigT, *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.width, self.features, self.config = width, features, config
        self.precision: Precision = "full"
        self.W_enc_FD = nn.Parameter(torch.zeros(features, width, device=device))
        self.b_enc_F = nn.Parameter(torch.zeros(features, device=device))
        self.W_dec_FD = nn.Parameter(torch.zeros(features, width, device=device))
        self.b_dec_D = nn.Parameter(torch.zeros(width, device=device))

    @abstractmethod
    def initialize(self, sample_BD: Tensor, generator: torch.Generator) -> None:
        """Set the parameters for training on activations like ``sample_BD`` (scaled: mean squared norm D)."""

    @abstractmethod
    def loss(self, x_BD: Tensor, moment: Moment) -> Losses:
        """The loss that training minimises on a batch of scaled activations."""

    @abstractmethod
    def selection(self) -> Selection:
        """Which pre-activations become active at inference."""

    def activation(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """What selected pre-activations become at inference: [K], none negative."""
        del pattern
        return pre_K.relu()

    @property
    def prefix_sizes(self) -> list[int]:
        """The parts of the dictionary that must reconstruct by themselves, in features."""
        return [max(1, round(prefix * self.features)) for prefix in self.config.prefixes]

    def reconstruction(self, pattern: Pattern, values_K: Tensor, x_BD: Tensor) -> Reconstruction:
        """How well codes give a batch back, with the whole dictionary and with each of its prefixes."""
        return reconstruction(pattern, values_K, self.W_dec_FD, self.b_dec_D, x_BD, self.prefix_sizes)

    def preactivations(self, x_BD: Tensor, selections: Sequence[Selection]) -> list[tuple[Pattern, Tensor]]:
        """What the encoder computes in training, where each selection keeps it."""
        return encode(x_BD, self.centre_D, self.W_enc_FD, self.b_enc_F, selections, precision=self.precision)

    @property
    def centre_D(self) -> Tensor | None:
        """What is subtracted from the input before encoding."""
        return self.b_dec_D if self.centred else None

    @torch.no_grad()
    def encode(self, x_BD: Tensor) -> Codes:
        """Sparse codes of a batch of activations. Raises MismatchError for activations of another width."""
        if x_BD.ndim != 2 or x_BD.shape[1] != self.width:
            raise MismatchError(
                f"this dictionary encodes activations of shape [N, {self.width}], and was given {list(x_BD.shape)}: "
                "it was made for another model or site"
            )
        [(pattern, pre_K)] = encode(x_BD, self.centre_D, self.W_enc_FD, self.b_enc_F, [self.selection()])
        return pattern.codes(self.activation(pattern, pre_K))

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """Reconstructions [B, D] of a batch of codes."""
        return decode(Pattern.of(codes), codes.values, self.W_dec_FD) + self.b_dec_D

    @torch.no_grad()
    def folded(self, scale: float) -> Self:
        """The same dictionary for unscaled activations and with decoder rows of norm 1.

        Trained on ``s·x``, it takes ``x`` afterwards; a feature's activation becomes the norm of what the feature
        adds to the reconstruction, in the model's own units. The reconstruction is the same.
        """
        norms_F = self.W_dec_FD.norm(dim=1).clamp_min(torch.finfo(self.W_dec_FD.dtype).tiny)
        folded = type(self)(self.width, self.features, self.config, device=self.W_dec_FD.device)
        folded.W_enc_FD.copy_(self.W_enc_FD * norms_F[:, None])
        folded.b_enc_F.copy_(self.b_enc_F * norms_F / scale)
        folded.W_dec_FD.copy_(self.W_dec_FD / norms_F[:, None])
        folded.b_dec_D.copy_(self.b_dec_D / scale)
        return folded
