"""Named, complete runs as functions: read one to see every choice, copy one to make your own."""

from __future__ import annotations

from semascope.config import EvaluationConfig, ModelConfig, RunConfig
from semascope.sae import L1Config, TopKConfig
from semascope.text import CorpusConfig
from semascope.training import TrainingConfig


def demo() -> RunConfig:
    """The embedded model and text, minutes on a laptop: 8,192 features of the middle layer of SmolLM2-135M.

    Four passes over 250,000 activations: harvesting is the long part on a CPU, and repeated passes cost little quality
    (docs/LOG.md).
    """
    return RunConfig(
        model=ModelConfig(name="smollm2-135m"),
        site="resid_post.15",
        corpus=CorpusConfig(source="sample", context_tokens=128, held_out_fraction=0.2),
        training=TrainingConfig(variant=TopKConfig(k=32), features=8192, tokens=1_000_000, batch_tokens=2048),
        passes=4,
        evaluation=EvaluationConfig(tokens=16_384, ce_tokens=8_192, concept_texts=100),
    )


def paper_2024(model: str, *, layer: int, data: str, features: int = 1 << 17) -> RunConfig:
    """The recipe of "Scaling Monosemanticity": L1 with λ 5, learning rate 5e-5, 200,000 steps of 4,096 tokens.

    One pass over the text, through a mixing buffer of a million tokens.
    """
    return RunConfig(
        model=ModelConfig(name=model),
        site=f"resid_post.{layer}",
        corpus=CorpusConfig(source=data, context_tokens=1024),
        training=TrainingConfig(
            variant=L1Config(coefficient=5.0, warmup_fraction=0.05),
            features=features,
            tokens=200_000 * 4096,
            batch_tokens=4096,
            learning_rate=5e-5,
            decay_fraction=0.2,
            gradient_clip=1.0,
            dead_after_tokens=10_000_000,
            buffer_tokens=1 << 20,
        ),
    )
