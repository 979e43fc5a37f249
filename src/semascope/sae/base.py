"""What every sparse autoencoder has in common: parameters, inference, folding. Mathematics only.

B rows, D width of the activations, O width of what is reconstructed (D but for transcoders), F features, K active
entries of a batch.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Generic, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from typing_extensions import TypeVar

from semascope.errors import MismatchError
from semascope.kernels import Above, Pattern, Precision, Selection, decode, encode
from semascope.records import Codes
from semascope.sae.candidates import pick_among_all
from semascope.sae.reconstruction import Reconstruction, reconstruction
from semascope.team import ALONE, Team

MATRYOSHKA_PREFIXES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
# The L0 that trainings start with where none is asked for.
STARTING_L0 = 32


class VariantConfig(BaseModel):
    """Settings of one variant; each variant declares its own beside its mathematics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefixes: tuple[float, ...] = (1.0,)
    """Parts of the dictionary, ascending to 1, that must reconstruct by themselves: more than one is Matryoshka."""

    auxiliary_k: int = Field(default=256, ge=1)
    auxiliary_coefficient: float = Field(default=1 / 32, ge=0)
    """AuxK: up to so many dead features a token model what the live ones leave over; 0 turns it off."""

    @field_validator("prefixes")
    @classmethod
    def _ascend_to_one(cls, prefixes: tuple[float, ...]) -> tuple[float, ...]:
        if not prefixes or prefixes[-1] != 1 or prefixes[0] <= 0 or any(a >= b for a, b in pairwise(prefixes)):
            raise ValueError("prefixes must be positive and ascend to 1, such as 0.0625, 0.25, 1")
        return prefixes

    def default_learning_rate(self, *, features: int, steps: int) -> float:
        """The learning rate when the user asks for none.

        ``2e-4 / √(F / 2¹⁴)``, the published law for long runs (Gao et al., 2024); more for short ones, by the square
        root of their steps, up to 2e-3, or what narrow dictionaries bear in addition (docs/SCALING.md has the best
        rates of 28 widths and lengths).
        """
        long_run = 2e-4 / (features / 2**14) ** 0.5
        most = 2e-3 * max(1.0, 2**13 / features) ** (1 / 3)
        return min(most, long_run * max(1.0, 50_000 / max(1, steps)) ** 0.5)

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
class Shape:
    """The sizes of a dictionary. ``output_width``: of a transcoder, which takes activations of one site and predicts
    those of another (Dunefsky et al., "Transcoders Find Interpretable LLM Feature Circuits", 2024); None for an
    autoencoder. ``skip``: whether a linear map of the input is added to the prediction (Paulo et al., "Transcoders Beat
    Sparse Autoencoders for Interpretability", 2025). ``held``: first and last (exclusive) of the features that this
    process has, where others have the rest.
    """

    width: int
    features: int
    output_width: int | None = None
    skip: bool = False
    held: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training stands: what a loss may depend on besides its batch.

    ``fraction``: of the run that is done, from 0 to 1. ``dead_features``: int64 ids of the features that have not
    fired for a while (of those that this process has), or None when there are none. ``rows``: of the whole batch, where
    this process sees only some of them.
    """

    fraction: float = 1.0
    dead_features: Tensor | None = None
    rows: int | None = None

    def rows_with(self, x_BD: Tensor) -> int:
        """The rows of the whole batch that ``x_BD`` belongs to."""
        return self.rows or len(x_BD)


@dataclass(frozen=True, slots=True)
class Losses:
    """A loss and what it saw on the way: ``total`` is differentiable, the rest is for statistics.

    ``squared_error``: ``‖x̂ − x‖²`` summed over the rows, and ``codes``: those that this process has; the total and
    its terms are of the whole batch.
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


def by_feature(name: str) -> bool:
    """Whether a parameter or buffer of this name has a row for each feature: its first axis is F."""
    return re.search(r"_F[A-Z]*$", name) is not None


class SparseAutoencoder(nn.Module, ABC, Generic[ConfigT]):
    """A dictionary of F directions in a space of width O, and the encoder that finds a sparse code for a vector.

    ``ŷ = b_dec + Σ_i f_i(x) · W_dec_i + [skip] W_skip x``, with ``f`` from ``(x − b_dec·[centred]) · W_enc +
    b_enc``; an autoencoder's ŷ stands for x itself, a transcoder's for the activation at another site. Weights are
    feature-major: row i of ``W_enc_FD`` and of ``W_dec_FO`` belongs to feature i.

    ``precision``: of the encoder's product in training, see `semascope.kernels.Precision`; inference is always in full.
    ``unit_rows``: the parameters whose rows have norm 1 throughout training. ``rate_factors``: how much faster than the
    others some parameters learn. ``team``: who has the other features and sees the other rows.
    """

    centres: ClassVar[bool] = False
    """Whether autoencoders of this variant subtract ``b_dec`` from their input; transcoders never do."""

    def __init__(self, shape: Shape, config: ConfigT, *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.shape, self.config = shape, config
        self.width, self.features = shape.width, shape.features
        self.held = slice(*(shape.held or (0, shape.features)))
        self.held_features = self.held.stop - self.held.start
        self.output_width = shape.output_width or shape.width
        self.centred = self.centres and shape.output_width is None
        self.precision: Precision = "full"
        self.unit_rows: tuple[str, ...] = ()
        self.rate_factors: Mapping[str, float] = {}
        self.team: Team = ALONE

        def zeros(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*sizes, device=device))

        self.W_enc_FD = zeros(self.held_features, self.width)
        self.b_enc_F = zeros(self.held_features)
        self.W_dec_FO = zeros(self.held_features, self.output_width)
        self.b_dec_O = zeros(self.output_width)
        self.W_skip_OD = zeros(self.output_width, self.width) if shape.skip else None

    @abstractmethod
    def initialize(self, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator) -> None:
        """Set the parameters for training on activations like these (scaled: mean squared norms D and O)."""

    def loss(self, x_BD: Tensor, moment: Moment, target_BO: Tensor | None = None) -> Losses:
        """The loss that training minimises on a batch of scaled activations; a transcoder's target comes with it."""
        return self._loss(x_BD, x_BD if target_BO is None else target_BO, moment)

    @abstractmethod
    def _loss(self, x_BD: Tensor, target_BO: Tensor, moment: Moment) -> Losses: ...

    def auxiliary_values(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """What dead features offer for what the live ones leave over (see `auxiliary`): [K], also below zero."""
        del pattern
        return pre_K

    @property
    def starting_l0(self) -> float:
        """The L0 that features together have at the start, and that those which come back are to fit into."""
        return self.config.target_l0() or STARTING_L0

    def lower_barriers(self, quiet_T: Tensor, x_BD: Tensor) -> None:
        """Let quiet features fire again on some of these rows, as they are. Not where they fire by competition."""

    def renew(self, dead_T: Tensor, x_BD: Tensor, target_BO: Tensor) -> Tensor:
        """Make new features of dead ones, for what is missing of these rows; returns which. Not every variant does.

        Here and in `lower_barriers` those that have been silent the longest come first: rows may be too few for all.
        All of the team are called, also with no dead feature.
        """
        del x_BD, target_BO
        return dead_T[:0]

    @abstractmethod
    def selection(self) -> Selection:
        """Which pre-activations become active at inference."""

    def activation(self, pattern: Pattern, pre_K: Tensor) -> Tensor:
        """What selected pre-activations become at inference: [K], none negative."""
        del pattern
        return pre_K.relu()

    @property
    def prefix_sizes(self) -> list[int]:
        """The parts of the dictionary that must reconstruct by themselves: how many features of each are held."""
        sizes = [max(1, round(prefix * self.features)) for prefix in self.config.prefixes]
        return [min(max(size - self.held.start, 0), self.held_features) for size in sizes]

    def reconstruction(
        self, pattern: Pattern, values_K: Tensor, x_BD: Tensor, target_BO: Tensor, *, with_sizes: bool = False
    ) -> Reconstruction:
        """How well codes give the target, with the whole dictionary and with each of its prefixes."""
        codes_and_weights = (pattern, values_K, self.W_dec_FO, self.b_dec_O)
        rest_BO = self.beyond_skip(x_BD, target_BO)
        return reconstruction(*codes_and_weights, rest_BO, self.prefix_sizes, self.team, with_sizes=with_sizes)

    def beyond_skip(self, x_BD: Tensor, target_BO: Tensor) -> Tensor:
        """What the codes have to give: the target without what the skip connection predicts."""
        return target_BO if self.W_skip_OD is None else target_BO - x_BD @ self.W_skip_OD.T

    def preactivations(self, x_BD: Tensor, selections: Sequence[Selection]) -> list[tuple[Pattern, Tensor]]:
        """What the encoder computes in training, where each selection keeps it."""
        team, centre_D = self.team, self.centre_D
        if team.size == 1:
            return encode(x_BD, centre_D, self.W_enc_FD, self.b_enc_F, selections, precision=self.precision)
        centre_D = None if centre_D is None else team.used_by_features(centre_D)
        pick = pick_among_all(team, self.features)
        return encode(x_BD, centre_D, self.W_enc_FD, self.b_enc_F, selections, precision=self.precision, pick=pick)

    @property
    def centre_D(self) -> Tensor | None:
        """What is subtracted from the input before encoding."""
        return self.b_dec_O if self.centred else None

    @property
    def reading_directions_FD(self) -> Tensor:
        """Where features read: the decoder's rows or, where it writes into another space, the encoder's."""
        return (self.W_dec_FO if self.shape.output_width is None else self.W_enc_FD).detach()

    @torch.no_grad()
    def encode(self, x_BD: Tensor) -> Codes:
        """Sparse codes of a batch of activations. Raises MismatchError for activations of another width."""
        self._require_width(x_BD)
        [(pattern, pre_K)] = encode(x_BD, self.centre_D, self.W_enc_FD, self.b_enc_F, [self.selection()])
        return pattern.codes(self.activation(pattern, pre_K))

    @torch.no_grad()
    def encode_some(self, x_BD: Tensor, features_n: Tensor) -> Tensor:
        """[B, n]: the activations of n features (distinct ids) alone, as `encode` gives them; errors as there.

        Where a feature's own pre-activation decides whether it is active, nothing is computed of the others. Where
        features compete, the others are computed only of rows that one of these may be active in.
        """
        self._require_width(x_BD)
        centred_BD = x_BD if self.centre_D is None else x_BD - self.centre_D
        pre_Bn = centred_BD @ self.W_enc_FD[features_n].T + self.b_enc_F[features_n]
        found_Bn = torch.zeros_like(pre_Bn)
        match self.selection():
            case Above(threshold):
                if isinstance(threshold, Tensor) and threshold.ndim:
                    threshold = threshold[features_n]
                kept_Bn = pre_Bn > threshold
                ids_K = features_n.expand_as(pre_Bn)[kept_Bn]
                pattern = Pattern.from_counts(kept_Bn.sum(dim=1), ids_K, self.features)
                found_Bn[kept_Bn] = self.activation(pattern, pre_Bn[kept_Bn])
            case _:
                rows = (pre_Bn > 0).any(dim=1).nonzero().flatten()
                if len(rows):
                    found_Bn[rows] = self.encode(x_BD[rows]).columns(features_n)
        return found_Bn

    def _require_width(self, x_BD: Tensor) -> None:
        if x_BD.ndim != 2 or x_BD.shape[1] != self.width:
            raise MismatchError(
                f"this dictionary encodes activations of shape [N, {self.width}], and was given {list(x_BD.shape)}: "
                "it was made for another model or site"
            )

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """[B, O]: what a batch of codes stands for, without the skip connection."""
        return decode(Pattern.of(codes), codes.values, self.W_dec_FO) + self.b_dec_O

    @torch.no_grad()
    def predict(self, x_BD: Tensor, codes: Codes) -> Tensor:
        """[B, O]: the reconstruction (an autoencoder's) or prediction (a transcoder's) from activations and codes."""
        decoded_BO = self.decode(codes)
        return decoded_BO if self.W_skip_OD is None else decoded_BO + x_BD @ self.W_skip_OD.T

    @torch.no_grad()
    def folded(self, scale: float, output_scale: float | None = None) -> Self:
        """The same dictionary for unscaled activations and with decoder rows of norm 1.

        Trained on ``s·x``, it takes ``x`` afterwards; a feature's activation becomes the norm of what the feature
        adds to the reconstruction, in the model's own units. The reconstruction is the same. ``output_scale``: that of
        a transcoder's target.
        """
        output_scale = output_scale or scale
        norms_F = self.W_dec_FO.norm(dim=1).clamp_min(torch.finfo(self.W_dec_FO.dtype).tiny)
        folded = type(self)(self.shape, self.config, device=self.W_dec_FO.device)
        folded.load_state_dict(self.state_dict())
        folded.centred = self.centred
        folded.W_dec_FO.div_(norms_F[:, None])
        folded.b_dec_O.div_(output_scale)
        if folded.W_skip_OD is not None:
            folded.W_skip_OD.mul_(scale / output_scale)
        folded.W_enc_FD.mul_(scale)
        folded.change_units(norms_F / output_scale)
        return folded

    def change_units(self, units_F: Tensor) -> None:
        """Multiply every feature's activations with a positive number, by its encoder."""
        self.W_enc_FD.mul_(units_F[:, None])
        self.b_enc_F.mul_(units_F)
