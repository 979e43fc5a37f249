"""Windows that grow token by token, with the keys and values of earlier positions kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from semascope.errors import ModelError
from semascope.models.base import NO_REPLACEMENTS, Replacement
from semascope.models.sites import Sites, replacing
from semascope.records import Site


class CachedContinuation:
    """The `Continuation` of a model of Transformers, by the model's own cache.

    All windows have the same length, so that there is no padding: positions, masks and sliding windows are the model's
    own, as in a window by itself. ``check`` takes new tokens and the number of positions before them; ``last_only``
    are the model's options for unembedding the last position alone.
    """

    def __init__(
        self, wrapped: PreTrainedModel, sites: Sites, dtype: torch.dtype, *, check: Callable[[Tensor, int], Tensor],
        last_only: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._wrapped, self._sites, self._dtype, self._check = wrapped, sites, dtype, check
        self._cache: Any = None
        self._length = 0
        self._last_only = last_only

    @property
    def length(self) -> int:
        return self._length

    def extend(self, tokens_BT: Tensor, replacements: Mapping[Site, Replacement] = NO_REPLACEMENTS) -> Tensor:
        tokens_BT = self._check(tokens_BT, self._length)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            for site, replace in replacements.items():
                stack.enter_context(self._sites.place(site).attach(replacing(replace, site, self._dtype)))
            output: Any = self._wrapped(tokens_BT, past_key_values=self._cache, use_cache=True, **self._last_only)
        self._cache = getattr(output, "past_key_values", None)
        if self._cache is None:
            raise ModelError(
                f"{type(self._wrapped).__name__} keeps no keys and values of earlier positions, and so cannot go on "
                "with a text token by token: choose a model with attention"
            )
        self._length += tokens_BT.shape[1]
        return output.logits[:, -1]
