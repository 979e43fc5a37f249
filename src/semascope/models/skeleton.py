"""What a language model is made of, from its configuration alone: no weights are read or fetched."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from semascope.errors import ModelError
from semascope.models.embedded import MODELS
from semascope.models.huggingface import HuggingFaceModel
from semascope.models.loading import explained
from semascope.models.outline import Outline
from semascope.models.settings import Settings
from semascope.models.tiny import NAME as TINY
from semascope.models.tiny import tiny_config
from semascope.text.tokenizer import ByteTokenizer


class Skeleton(Outline):
    """A causal language model without weights: its sizes, what a token costs in it, and cuts of it that run.

    Raises ModelError when the configuration is not that of a model that can be read.
    """

    def __init__(self, name: str, config: PretrainedConfig, *, trust_remote_code: bool = False) -> None:
        self.name = name
        self._trust_remote_code = trust_remote_code
        with torch.device("meta"):
            super().__init__(self._built(config.get_text_config(decoder=True)))

    @classmethod
    def load(cls, name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Self:
        """That of a model by its name as in `load_model`; of a model of the hub, the configuration alone is read.

        Raises ModelError for a model that does not exist or cannot be read, UnavailableError without network.
        """
        sizes = {model.name: model.sizes for model in MODELS}
        if name in sizes:
            return cls.of(name, sizes[name])
        if name == TINY:
            return cls(name, tiny_config())
        try:
            config = AutoConfig.from_pretrained(
                str(Path(name).expanduser()) if name.startswith("~") else name,
                revision=revision or "main",
                trust_remote_code=trust_remote_code,
            )
            return cls(name, config, trust_remote_code=trust_remote_code)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise explained(error, name, revision) from error

    @classmethod
    def of(cls, name: str, sizes: Mapping[str, Any]) -> Self:
        """From the settings of a configuration of Transformers: ``model_type``, ``hidden_size`` and so on."""
        return cls(name, AutoConfig.for_model(**sizes))

    @property
    def residual_width(self) -> int:
        """The width of the residual stream."""
        return int(self._config.hidden_size)

    @cached_property
    def parameters(self) -> int:
        """All of them; what is shared counts once."""
        return sum(p.numel() for p in self._wrapped.parameters())

    def block_parameters(self, blocks: int) -> int:
        """Those of the first blocks."""
        return sum(self._parameters_of_blocks[:blocks])

    def block_flops(self, blocks: int, context: int) -> float:
        """Operations a token in the first blocks, in windows of ``context`` tokens.

        Two for each weight that the token goes through, and those of causal attention, which sees half of a window:
        ``2 · context · (width of the heads)`` a block (Kaplan et al., "Scaling Laws for Neural Language Models", 2020).
        Of a mixture of experts, a token goes through the experts that it is sent to.
        """
        attended = min(context, getattr(self._config, "sliding_window", None) or context)
        heads = self._config.num_attention_heads
        head_width = getattr(self._config, "head_dim", None) or self.residual_width // heads
        return 2.0 * sum(self._active_parameters[:blocks]) + 2.0 * blocks * attended * heads * head_width

    @property
    def unembedding_flops(self) -> float:
        """Operations a token from the last block to the logits."""
        return 2.0 * self.residual_width * self.vocabulary

    def cut(self, blocks: int, settings: Settings) -> HuggingFaceModel:
        """The first blocks with random weights, over bytes: it takes as long as those of the model itself."""
        tokenizer = ByteTokenizer()
        config: Any = copy.deepcopy(self._config)
        config.num_hidden_layers, config.vocab_size = blocks, tokenizer.vocabulary
        config.pad_token_id = config.bos_token_id = None
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:blocks]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            wrapped = self._built(config)
        moved = cast(Any, wrapped).to(settings.device, settings.dtype)
        return HuggingFaceModel(moved, tokenizer, name=self.name, precision=settings.precision)

    def _built(self, config: Any) -> PreTrainedModel:
        built: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=self._trust_remote_code)
        if not isinstance(built, PreTrainedModel):
            raise ModelError(f"'{self.name}' is no causal language model of Transformers ({type(built).__name__})")
        return built

    @cached_property
    def _parameters_of_blocks(self) -> list[int]:
        return [sum(p.numel() for p in block.parameters()) for block in self._sites.blocks]

    @cached_property
    def _active_parameters(self) -> list[float]:
        """Of each block, the weights that a token goes through."""
        return [self._active_in(block) for block in self._sites.blocks]

    def _active_in(self, block: nn.Module) -> float:
        chosen = getattr(self._config, "num_experts_per_tok", None)
        there = getattr(self._config, "num_local_experts", None) or getattr(self._config, "num_experts", None)
        share = chosen / there if chosen and there else 1.0
        return sum(
            p.numel() * (share if "experts" in name.split(".") and "shared" not in name else 1.0)
            for name, p in block.named_parameters()
            if p.dim() >= 2
        )
