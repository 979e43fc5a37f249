"""A language model that is made in a blink: for tests, and for trying a command before a real run."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from semascope.models.huggingface import HuggingFaceModel
from semascope.models.settings import Settings
from semascope.text.tokenizer import ByteTokenizer

NAME = "tiny"
_SEED = 0


def tiny_config() -> LlamaConfig:
    """A Llama of 4 layers and width 32 over bytes."""
    tokenizer = ByteTokenizer()
    return LlamaConfig(
        vocab_size=tokenizer.vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=tokenizer.separator_id,
    )


def load_tiny(settings: Settings) -> HuggingFaceModel:
    """The model of `tiny_config`, with the same random weights on every machine."""
    tokenizer = ByteTokenizer()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(_SEED)
        wrapped = LlamaForCausalLM(tiny_config())
        for parameter in wrapped.parameters():
            # Norms keep their weights of 1; matrices keep the scale of what goes through them.
            if parameter.dim() == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    moved = cast(Any, wrapped).to(settings.device, settings.dtype)
    return HuggingFaceModel(moved, tokenizer, name=NAME, revision=None, precision=settings.precision)
