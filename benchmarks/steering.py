"""How fast a model writes with features held, beside the same model untouched; prints JSON lines.

    python benchmarks/steering.py runs/demo --feature 3892 --tokens 64
    python benchmarks/steering.py runs/demo --features 65536        # random dictionaries of a size, every variant

``untouched`` is greedy generation by Transformers' own ``generate``; ``plain`` is ours without interventions;
``steered`` is ours with a clamp, whose dictionary must tell at every token how active the feature is; ``added`` with an
addition, which needs no dictionary. All run in one process, in turn, best of several; ``ratio`` is steered over
untouched tokens a second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import semascope  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from timing import best_seconds

from semascope.records import Intervention
from semascope.sae import VARIANTS, build
from semascope.steering import Sampling, Steering

PROMPT = "The history of the city begins in the eighteenth century, when"


def rates(steering: Steering, feature: int, rows: int, tokens: int, repeats: int) -> dict[str, float]:
    """Tokens a second of each way to write ``rows`` texts."""
    model: Any = steering.model
    prompt = steering.tokens(PROMPT, chat=False)
    sampling = Sampling(max_tokens=tokens, temperature=0, samples=rows)
    unending = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    def untouched() -> int:
        prompts_BT = torch.tensor([prompt] * rows, device=model.device)
        ones_BT = torch.ones_like(prompts_BT)
        return model._wrapped.generate(prompts_BT, attention_mask=ones_BT, max_new_tokens=tokens, **unending).numel()

    def ours(*ops: Intervention) -> Callable[[], int]:
        return lambda: sum(1 for _ in steering.generate([prompt], ops, sampling=sampling))

    ways: dict[str, Callable[[], int]] = {
        "untouched": untouched,
        "plain": ours(),
        "steered": ours(Intervention(feature, "clamp", 1.0)),
        "added": ours(Intervention(feature, "add", 1.0)),
    }
    return {name: rows * tokens / seconds for name, seconds in best_seconds(ways, repeats).items()}


def steerings(run: Any, features: int | None) -> Iterator[tuple[str, Steering]]:
    """The run's own dictionary, or random ones of a size."""
    if features is None:
        yield run.config.training.variant.variant, run.steering
        return
    model, width = run.model, run.model.width(run.site)
    sample_BD = model.activations(torch.tensor([run.steering.tokens(PROMPT * 8, chat=False)]), run.site)[0, 1:].float()
    for name, config in VARIANTS.items():
        scale = (width / sample_BD.square().sum(dim=1).mean().item()) ** 0.5
        dictionary = build(config(), width=width, features=features)
        dictionary.initialize(sample_BD * scale, sample_BD * scale, torch.Generator().manual_seed(0))
        yield name, Steering(model, run.site, dictionary.folded(scale), torch.full((features,), 30.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--feature", type=int, default=0)
    parser.add_argument("--features", type=int, help="random dictionaries with so many features")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    run = semascope.Run.open(options.run)
    # No text may end before the others.
    stop_ids = type(run.model).stop_ids
    type(run.model).stop_ids = frozenset[int]()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        for variant, steering in steerings(run, options.features):
            found = rates(steering, options.feature, options.rows, options.tokens, options.repeats)
            print(
                json.dumps(
                    {
                        "variant": variant,
                        "features": steering.dictionary.features,
                        "rows": options.rows,
                        "threads": torch.get_num_threads(),
                        "tokens_per_second": {name: round(rate, 1) for name, rate in found.items()},
                        "ratio": round(found["steered"] / found["untouched"], 3),
                    }
                )
            )
    finally:
        type(run.model).stop_ids = stop_ids  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    main()
