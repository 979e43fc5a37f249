"""What a language model of Transformers says of itself, with weights or without."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from semascope.models.sites import Sites
from semascope.records import Site

_CONTEXT_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "seq_length")
# Of models that declare no limit, because their positions are relative (ALiBi): what they were trained with.
_UNDECLARED_CONTEXT = 2048


class Outline:
    """The sizes of a causal language model. Raises ModelError when it has no blocks."""

    def __init__(self, wrapped: PreTrainedModel) -> None:
        self._wrapped = wrapped
        self._config: Any = wrapped.config.get_text_config(decoder=True)
        self._sites = Sites(wrapped)

    @property
    def n_layers(self) -> int:
        """The number of blocks."""
        return self._sites.n_layers

    @property
    def vocabulary(self) -> int:
        """The number of token ids (V)."""
        return int(self._config.vocab_size)

    @property
    def context_limit(self) -> int:
        """The longest window, in tokens."""
        declared = (getattr(self._config, name, None) for name in _CONTEXT_NAMES)
        return next((int(limit) for limit in declared if limit), _UNDECLARED_CONTEXT)

    def width(self, site: Site) -> int:
        """D at a site. Raises SiteError when the model has no such site."""
        return self._sites.width(site)
