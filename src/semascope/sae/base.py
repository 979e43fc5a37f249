"""What every sparse autoencoder has in common: parameters, inference, folding. Mathematics only.

B rows, D width of the activations, F features, K active entries of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from typing_extensions import TypeVar

from semascope.errors import MismatchError
from semascope.kernels import Pattern, Selection, decode, encode
from semascope.records import Codes


class VariantConfig(BaseModel):
    """Settings of one variant; each variant declares its own beside its mathematics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """The learning rate when the user asks for none, from the number of features and of optimizer steps."""
        raise NotImplementedError

    def target_l0(self) -> float | None:
        """The L0 that these settings ask for, or None where the loss alone decides it."""
        raise NotImplementedError


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
    """A loss and what it saw on the way: ``total`` is differentiable, the rest is for statistics."""

    total: Tensor
    terms: dict[str, Tensor]
    reconstruction_BD: Tensor
    codes: Codes


class SparseAutoencoder(nn.Module, ABC, Generic[ConfigT]):
    """A dictionary of F directions in a space of width D, and the encoder that finds a sparse code for a vector.

    ``x̂ = b_dec + Σ_i f_i(x) · W_dec_i``, with ``f`` from ``(x − b_dec·[centred]) · W_enc + b_enc``. Weights are
    feature-major: row i of ``W_enc_FD`` and of ``W_dec_FD`` belongs to feature i.
    """

    centred: ClassVar[bool]

    def __init__(self, width: int, features: int, config: ConfigT, *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.width, self.features, self.config = width, features, config
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

    def project_gradients(self) -> None:
        """Called between the backward pass and the optimizer's step."""

    def constrain(self) -> None:
        """Called after the optimizer's step."""

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
        return pattern.codes(pre_K.relu())

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
