"""The tables of docs/SCALE.md: what the paper's three dictionaries would take, by the formulas of `semascope estimate`.

    python benchmarks/scale.py

Nothing is measured: a test compares docs/SCALE.md with what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semascope.config import RunConfig
from semascope.estimate import Estimate, Team, estimate, known_gpu
from semascope.estimate.estimate import USABLE
from semascope.models.skeleton import Skeleton

SIZES = (1 << 20, 1 << 22, 1 << 25)
# A model as wide as open ones of one and of eight thousand million parameters; the middle layer is read.
MODELS: dict[str, dict[str, Any]] = {
    "2,048": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": True,
    },
    "4,096": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": False,
    },
}  # fmt: skip
K, BATCH, STEPS, CONTEXT = 128, 8192, 200_000, 1024
GPU = "h100"


def settings(model: Skeleton, features: int) -> RunConfig:
    """A run of topk at the middle layer, in one pass over the text."""
    return RunConfig.model_validate(
        {
            "site": f"resid_post.{model.n_layers // 2 - 1}",
            "corpus": {"context_tokens": CONTEXT},
            "training": {
                "variant": {"variant": "topk", "k": K},
                "features": features,
                "tokens": STEPS * BATCH,
                "batch_tokens": BATCH,
                "buffer_tokens": 1 << 20,
            },
        }
    )


def smallest_team(model: Skeleton, features: int) -> Estimate:
    """On the smallest power of two of GPUs that holds the dictionary in training."""
    for exponent in range(12):
        found = estimate(settings(model, features), model, known_gpu(GPU), Team(1 << exponent))
        if sum(found.memory["train"].values()) <= USABLE * found.limit:
            return found
    raise AssertionError("no team of 2,048 GPUs holds it")


def lines() -> Iterator[str]:
    """Markdown."""
    yield (
        "| width | features | GPUs | features of each | weights | moments | gradients | buffer | model and rest "
        "| all of a GPU | checkpoint | dictionary |"
    )
    yield "|" + "---|" * 12
    found = [
        (width, features, smallest_team(Skeleton.of(width, sizes), features))
        for width, sizes in MODELS.items()
        for features in SIZES
    ]
    for width, features, one in found:
        held = one.memory["train"]
        named = ("weights", "moments", "gradients", "buffer")
        rest = sum(held.values()) - sum(held[name] for name in named)
        cells = [f"{held[name] / 1e9:.1f}" for name in named]
        disk = [f"{one.disk[name] / 1e9:,.0f}" for name in ("checkpoint", "dictionary")]
        yield (
            f"| {width} | {features:,} | {one.processes} | {features // one.processes:,} | {' | '.join(cells)} "
            f"| {rest / 1e9:.1f} | {sum(held.values()) / 1e9:.0f} | {' | '.join(disk)} |"
        )
    yield ""
    yield (
        "| width | features | GPUs | product | Adam, norm | selection, gathers | exchanges | a step | tokens/s "
        "| training | harvest | GPU hours | received a token | a step |"
    )
    yield "|" + "---|" * 14
    for width, features, one in found:
        adam = one.step["Adam"] + one.step["gradient's norm"]
        rest = sum(one.step.values()) - one.step["product"] - adam
        step = sum(one.step.values()) + one.exchange_seconds
        received = sum(one.exchanged.values())
        hours = one.processes * (one.seconds["train"] + one.seconds["harvest"]) / 3600
        yield (
            f"| {width} | {features:,} | {one.processes} | {1e3 * one.step['product']:.0f} | {1e3 * adam:.0f} "
            f"| {1e3 * rest:.0f} | {1e3 * one.exchange_seconds:.1f} | {1e3 * step:.0f} | {BATCH / step:,.0f} "
            f"| {one.seconds['train'] / 86_400:.1f} | {one.seconds['harvest'] / 86_400:.2f} | {hours:,.0f} "
            f"| {received / BATCH / 1e3:.0f} | {received / 1e6:.0f} |"
        )


if __name__ == "__main__":
    print("\n".join(lines()))
