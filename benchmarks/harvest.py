"""How fast activations are harvested, beside the bare model and the bare matrix products; prints JSON.

    python benchmarks/harvest.py --model smollm2-135m --layer 15 --windows 8 --context 128

The bare forward pass is that of the model cut off behind the site's block, on the same windows and weights, and nothing
else: what a script without hooks would run. The floor is the linear layers of these blocks, one after another. All are
measured in one process, in turn, best of several; ``of_bare`` is the harvest's speed over the bare forward pass's,
``ratio`` its time over the floor's. The harvest includes what `semascope.activations.harvest` does: outliers, checks,
positions. The last line says how far "fast" is from "full" on held-out text of the embedded sample: of the activations'
norm, and of the cross-entropy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from timing import best_seconds

from semascope.activations import OutlierFilter, harvest
from semascope.errors import ConfigError
from semascope.models import load_model
from semascope.models.sites import Sites
from semascope.records import Site, TokenBatch
from semascope.text import Corpus, CorpusConfig, pack


@contextmanager
def cut_off(wrapped: Any, n_layers: int) -> Iterator[Any]:
    """The model without its head and without the blocks from ``n_layers`` on."""
    blocks = Sites(wrapped).blocks
    base = wrapped.base_model
    [(attribute, whole)] = [(name, child) for name, child in base.named_children() if child is blocks]
    setattr(base, attribute, blocks[:n_layers])
    try:
        yield base
    finally:
        setattr(base, attribute, whole)


def measure(name: str, precision: str, site: Site, windows: int, context: int, repeats: int) -> dict[str, Any]:
    """Tokens per second of the harvest, of the bare forward pass and of the floor."""
    model: Any = load_model(name, precision=precision)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(model.vocabulary, (windows, context), generator=generator)
    batch = TokenBatch(tokens_BT, torch.zeros_like(tokens_BT), 0)
    layers = [
        module
        for block in Sites(model._wrapped).blocks[: site.layer + 1]
        for module in block.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    inputs = {
        layer.in_features: torch.randn(tokens_BT.numel(), layer.in_features, dtype=layer.weight.dtype)
        for layer in layers
    }

    @torch.inference_mode()
    def floor() -> None:
        for layer in layers:
            torch.nn.functional.linear(inputs[layer.in_features], layer.weight)

    @torch.inference_mode()
    def bare() -> None:
        truncated(tokens_BT, use_cache=False)

    def harvested() -> None:
        for _ in harvest(model, [site], [batch], OutlierFilter()):
            pass

    with cut_off(model._wrapped, site.layer + 1) as truncated:
        seconds = best_seconds({"harvest": harvested, "bare": bare, "floor": floor}, repeats)
    return {
        "model": name,
        "site": str(site),
        "precision": precision,
        "tokens": tokens_BT.numel(),
        "context": context,
        "threads": torch.get_num_threads(),
        "tokens_per_second": round(tokens_BT.numel() / seconds["harvest"]),
        "bare_tokens_per_second": round(tokens_BT.numel() / seconds["bare"]),
        "floor_tokens_per_second": round(tokens_BT.numel() / seconds["floor"]),
        "of_bare": round(seconds["bare"] / seconds["harvest"], 2),
        "ratio": round(seconds["harvest"] / seconds["floor"], 2),
    }


def error_of_fast(name: str, site: Site, windows: int, context: int) -> dict[str, Any]:
    """The relative change of activations behind position 0, and of the cross-entropy."""
    full, fast = load_model(name, precision="full"), load_model(name, precision="fast")
    documents = Corpus(CorpusConfig()).held_out()
    packed = pack(documents, full.tokenizer, context_tokens=context, windows_per_batch=windows)
    tokens_BT = next(packed).tokens_BT
    x, y = (model.activations(tokens_BT, site)[:, 1:] for model in (full, fast))
    relative = ((x - y).norm(dim=2) / x.norm(dim=2)).flatten()
    clean, changed = (
        torch.nn.functional.cross_entropy(model.logits(tokens_BT)[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
        for model in (full, fast)
    )
    return {
        "error_median": round(relative.median().item(), 4),
        "error_99_percent": round(relative.quantile(0.99).item(), 4),
        "cross_entropy_change": round((changed / clean - 1).item(), 5),
        "error_tokens": relative.numel(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", default="15")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    measured: dict[str, Any] = {}
    for precision in ("full", "fast"):
        try:
            measured = measure(
                options.model, precision, Site.parse(options.layer), options.windows, options.context, options.repeats
            )
        except ConfigError as error:  # no matrix units for bfloat16 here
            measured = {"precision": precision, "error": str(error)}
        print(json.dumps(measured))
    if "error" not in measured:
        print(json.dumps(error_of_fast(options.model, Site.parse(options.layer), 16, options.context)))


if __name__ == "__main__":
    main()
