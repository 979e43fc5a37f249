"""What the other stages need of a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from semascope.errors import MismatchError
from semascope.records import Site
from semascope.text.tokenizer import Tokenizer

Replacement = Callable[[Tensor], Tensor]
"""Takes the activation [B, T, D] at a site and returns what the model goes on with: same shape, same device."""

NO_REPLACEMENTS: Mapping[Site, Replacement] = {}


class Continuation(Protocol):
    """B windows of the same length that grow; what was computed of their earlier positions is kept, not repeated.

    It begins without a position, and can be dropped at any time. Errors as in `LanguageModel`.
    """

    @property
    def length(self) -> int:
        """How many positions each window has so far."""
        ...

    def extend(self, tokens_BT: Tensor, replacements: Mapping[Site, Replacement] = NO_REPLACEMENTS) -> Tensor:
        """Append T tokens to each window: the logits [B, V] for the token that follows, in the model's dtype.

        ``replacements``: as in `LanguageModel.splice`, for each of some sites; they see the new positions alone.
        """
        ...


Score = Callable[[Tensor], Tensor]
"""Takes logits [B, T, V] and returns one number, by differentiable operations."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How a number that is made of the logits changes with the activation at a site.

    ``logits_BTV``, ``activation_BTD`` and ``gradient_BTD`` are in the model's dtype and free of any graph.
    """

    logits_BTV: Tensor
    activation_BTD: Tensor
    gradient_BTD: Tensor


class LanguageModel(Protocol):
    """A causal language model that can be read and changed at its sites.

    ``tokens_BT`` is always int64 [B, T]: B windows of the same length, without padding, every position attending to
    itself and to all positions before it in its window. Methods raise ModelError for token ids outside the vocabulary
    and for windows longer than ``context_limit``, and SiteError for a site that the model does not have.
    """

    @property
    def name(self) -> str:
        """What ``load_model`` was given: loading it again gives the same model."""
        ...

    @property
    def revision(self) -> str | None:
        """The exact version of the weights: a commit of the hub or the version of a package, where one is known."""
        ...

    @property
    def n_layers(self) -> int:
        """The number of blocks; layers count from 0."""
        ...

    @property
    def vocabulary(self) -> int:
        """The number of token ids that the model knows (V)."""
        ...

    @property
    def context_limit(self) -> int:
        """The longest window, in tokens."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where every result is returned."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token ids by which the model says that its text is at an end."""
        ...

    def width(self, site: Site) -> int:
        """D, the number of dimensions of the activations at a site."""
        ...

    def activations(self, tokens_BT: Tensor, site: Site) -> Tensor:
        """[B, T, D] in the model's dtype; nothing behind the site is computed."""
        ...

    def activations_at(self, tokens_BT: Tensor, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """[B, T, D] for each of ``sites`` from one pass; nothing behind the last of them is computed."""
        ...

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """[B, T, V] in the model's dtype: at each position, for the token that follows it."""
        ...

    def splice(self, tokens_BT: Tensor, site: Site, replace: Replacement) -> Tensor:
        """The logits [B, T, V] when ``replace(activation)`` stands in place of the activation at the site."""
        ...

    def continuation(self) -> Continuation:
        """Windows to be written on, token by token."""
        ...

    def sensitivity(self, tokens_BT: Tensor, site: Site, score: Score) -> Sensitivity:
        """The gradient of ``score(logits)`` in the activation at the site, from one pass forward and one backward.

        The activations of all positions count as independent of each other: only what lies behind the site is
        differentiated.
        """
        ...

    def branch(self, tokens_T: Tensor, site: Site, instead_NTD: Tensor) -> Tensor:
        """[N, V]: the logits for what follows a window, for each of N other activations of it at the site.

        What lies before the site is computed once and not N times, where the site is in the residual stream.
        """
        ...

    def promoted(self, directions_ND: Tensor) -> Tensor:
        """float32 [N, V]: the direct effect on the logits of each direction in the residual stream.

        Each direction goes alone through the final norm and the unembedding, what they make of a zero vector is
        subtracted, and so is the mean over the vocabulary, which changes no probability.
        """
        ...


def require_width(model: LanguageModel, site: Site, width: int) -> None:
    """Raise MismatchError when a dictionary for activations of this width is not one for this site of the model."""
    if model.width(site) != width:
        raise MismatchError(
            f"the dictionary is for activations of width {width}, and those of '{model.name}' at {site} have "
            f"{model.width(site)}: it was made for another model or site"
        )
