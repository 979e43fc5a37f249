"""What crosses the stages: small, typed, immutable records.

Shape suffixes used throughout the project: B rows of a batch, T positions of a window, N tokens, D width of the
model at the site, F features of the dictionary, V vocabulary, K entries of a sparse code ("nnz").
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from semascope.errors import ConfigError, SiteError

SiteKind = Literal["resid_pre", "resid_post", "mlp_in", "mlp_out", "attn_out", "neurons"]
"""``neurons`` are the hidden activations inside an MLP, which its last linear layer takes."""

SITE_KINDS: tuple[SiteKind, ...] = get_args(SiteKind)


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a language model where activations are read or replaced: a kind at a layer (from 0)."""

    layer: int
    kind: SiteKind = "resid_post"

    @property
    def writes_residual(self) -> bool:
        """Whether directions there are directions of the residual stream: its own, or what is added to it."""
        return self.kind not in ("mlp_in", "neurons")

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read ``"15"`` or ``"mlp_out.15"``. Raises SiteError for anything else."""
        kind, _, layer = text.rpartition(".")
        kind = kind or "resid_post"
        if kind not in SITE_KINDS or not layer.isdecimal():
            raise SiteError(
                f"'{text}' is not a site: expected a layer such as '15' or KIND.LAYER such as 'mlp_out.15', "
                f"with KIND one of {', '.join(SITE_KINDS)}"
            )
        return cls(int(layer), kind)


@dataclass(frozen=True)
class Document:
    """A text, where it came from, and what is known to be in it (``labels``, for example ``{"city"}``)."""

    text: str
    source: str
    labels: frozenset[str] = field(default_factory=frozenset[str])

    @cached_property
    def id(self) -> str:
        """A hash of the text alone: the same text is the same document wherever it comes from."""
        return hashlib.blake2b(" ".join(self.text.split()).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Consecutive windows of a packed corpus.

    ``tokens_BT`` int64. ``documents_BT`` int64: the ordinal number, within the pass over the corpus, of the
    document that each token belongs to; -1 for a beginning-of-text token that belongs to none.
    ``first_window``: the ordinal number of the first row.
    """

    tokens_BT: Tensor
    documents_BT: Tensor
    first_window: int


@dataclass(frozen=True, slots=True)
class ActivationBatch:
    """Activations of single tokens with the place that each came from.

    ``values_ND`` raw activations at the site, or at several side by side, on the model's device. ``tokens_N`` int64
    token ids. ``windows_N`` int64 and ``positions_N`` int64: the window of the pass over the corpus, and the position
    in it; all three on the CPU.
    """

    values_ND: Tensor
    tokens_N: Tensor
    windows_N: Tensor
    positions_N: Tensor

    def __len__(self) -> int:
        return self.values_ND.shape[0]


@dataclass(frozen=True, slots=True)
class Codes:
    """Feature activations of a batch in CSR form, the only form in which they leave an encoder.

    ``row_offsets`` int64 [B + 1], ``feature_ids`` int64 [K] (in no particular order within a row), ``values`` [K].
    """

    row_offsets: Tensor
    feature_ids: Tensor
    values: Tensor
    n_features: int

    @property
    def n_rows(self) -> int:
        return self.row_offsets.shape[0] - 1

    def row_ids(self) -> Tensor:
        """int64 [K]: the row that each entry belongs to."""
        return row_ids(self.row_offsets, self.values.shape[0])

    def to_dense(self) -> Tensor:
        """[B, F]; entries in the same place add up. For tests and small batches: everything else avoids this tensor."""
        dense = self.values.new_zeros(self.n_rows, self.n_features)
        return dense.index_put((self.row_ids(), self.feature_ids), self.values, accumulate=True)

    def columns(self, features_n: Tensor) -> Tensor:
        """[B, n]: the values of some features, whose ids are distinct, at every row; 0 where they are not active."""
        found = self.values.new_zeros(self.n_rows, len(features_n))
        rows_K = self.row_ids()
        for column, feature in enumerate(features_n):
            here_K = self.feature_ids == feature
            found[rows_K[here_K], column] = self.values[here_K]
        return found

    @classmethod
    def from_dense(cls, dense_BF: Tensor) -> Codes:
        """Keep the non-zero entries of a [B, F] tensor."""
        rows, features = dense_BF.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=dense_BF.shape[0])
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(offsets, features, dense_BF[rows, features], dense_BF.shape[1])


def row_ids(row_offsets: Tensor, entries: int) -> Tensor:
    """int64 [K]: the row that each of the K = ``entries`` entries of a CSR matrix belongs to, without a host sync."""
    rows = torch.arange(row_offsets.shape[0] - 1, device=row_offsets.device)
    return torch.repeat_interleave(rows, row_offsets.diff(), output_size=entries)


Operation = Literal["clamp", "add", "scale", "ablate"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds at the positions where a feature's activation exceeds ``above``, as the model has it by itself.

    ``in_maxima``: whether ``above`` counts in multiples of the feature's maximum, or is an activation.
    """

    feature: int
    above: float = 0.0
    in_maxima: bool = True

    def __post_init__(self) -> None:
        _check_numbers(self.feature, self.above)


@dataclass(frozen=True, slots=True)
class Intervention:
    """A change of one feature's activation while the model runs.

    ``op``: "clamp" sets it to ``strength``, "add" adds ``strength`` (below zero too), "scale" multiplies it with
    ``strength``, "ablate" sets it to 0. ``in_maxima``: whether the strength to clamp to or to add counts in multiples
    of the feature's maximum in the index, or is an activation. ``start``: the first position that is changed, or
    "reply" for what the model itself writes. ``where``: what must hold at a position. Raises ConfigError for numbers
    that are none.
    """

    feature: int
    op: Operation = "clamp"
    strength: float = 0.0
    in_maxima: bool = True
    start: int | Literal["reply"] = 0
    where: Condition | None = None

    def __post_init__(self) -> None:
        _check_numbers(self.feature, self.strength)
        if self.op not in get_args(Operation):
            raise ConfigError(f"'{self.op}' is no operation: expected one of {', '.join(get_args(Operation))}")
        _check_start(self.start)


def _check_numbers(feature: object, strength: object) -> None:
    if isinstance(feature, bool) or not isinstance(feature, int) or feature < 0:
        raise ConfigError(f"{feature!r} is no feature: expected its number, from 0")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not math.isfinite(strength):
        raise ConfigError(f"{strength!r} is no strength of feature {feature}: expected a finite number")


def _check_start(start: object) -> None:
    if start != "reply" and (isinstance(start, bool) or not isinstance(start, int) or start < 0):
        raise ConfigError(f"an intervention cannot start at {start!r}: expected a position from 0, or 'reply'")
