"""How fast features are ablated, and what a lower precision would do to the effects; prints one JSON object.

    python benchmarks/ablation.py runs/demo

``branch``: the layers before the site run once, as in `semascope attribute`; ``splice``: whole passes of the model,
one row for each ablation. Both ablate the same places of one prompt, in turn, in full precision. ``fast``: the same
effects with the blocks computing in bfloat16, where the processor has the units for it; their distance from those in
full precision is given as the median over places, beside the median size of an effect.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import semascope  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from timing import best_seconds
from torch import Tensor

from semascope.attribution import Attribution, Question, ablate, attribute
from semascope.hardware import has_bfloat16_matrix_units
from semascope.models import LanguageModel, load_model
from semascope.sae import SparseAutoencoder

PROMPT = "Fact: The capital of the state where Kobe Bryant played basketball is"
TARGET, BASELINE = " Sacramento", " Albany"


def by_whole_passes(
    model: LanguageModel, dictionary: SparseAutoencoder, found: Attribution, places: int
) -> Callable[[], Tensor]:
    """Ablation of the first places by attribution, by replacing the activation in rows of whole passes."""
    tokens_T, order = found.question.tokens_T.to(model.device), found.attributions_K.argsort(descending=True)[:places]
    changed_NTO = found.activation_TO.repeat(len(order), 1, 1)
    added_NO = found.activations_K[order, None] * dictionary.W_dec_FO.detach()[found.features_K[order]]
    changed_NTO[torch.arange(len(order)), found.positions_K[order]] -= added_NO

    def run() -> Tensor:
        values: list[Tensor] = []
        for part_NTO in changed_NTO.split(64):
            rows_NT = tokens_T.expand(len(part_NTO), -1)
            logits_NV = model.splice(rows_NT, found.site, lambda _, part_NTO=part_NTO: part_NTO.clone())[:, -1]
            values.append(found.question.value(logits_NV.float()))
        return found.question.value(found.logits_V[None]) - torch.cat(values)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--places", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    run = semascope.Run.open(options.run)
    medians = run.saved.metadata["recent_medians"]

    def effects(precision: str) -> tuple[LanguageModel, Attribution, Callable[[], Tensor]]:
        model = load_model(run.config.model.name, precision=precision)  # pyright: ignore[reportArgumentType]
        question = Question.read(model.tokenizer, PROMPT, TARGET, BASELINE)
        found = attribute(model, run.site, run.dictionary, question, recent_medians=medians)
        places, first = found.by_place(), torch.arange(options.places)
        return model, found, lambda: ablate(model, run.dictionary, found, places, first)

    model, found, branch = effects("full")
    splice = by_whole_passes(model, run.dictionary, found, options.places)
    exact_N = branch()
    torch.testing.assert_close(exact_N, splice(), rtol=1e-3, atol=1e-3)
    seconds = best_seconds({"branch": branch, "splice": splice}, options.repeats)
    told: dict[str, object] = {
        "positions": len(found.question.prompt),
        "places": options.places,
        "threads": torch.get_num_threads(),
        "ablations_per_second": round(options.places / seconds["branch"], 1),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "median_effect": round(exact_N.abs().median().item(), 4),
    }
    if has_bfloat16_matrix_units():
        _, fast_found, fast = effects("fast")
        same = dict(zip(_places(fast_found, options.places), fast().tolist(), strict=True))
        both = [
            (exact, same[place])
            for place, exact in zip(_places(found, options.places), exact_N.tolist(), strict=True)
            if place in same
        ]
        distances = torch.tensor([abs(exact - rough) for exact, rough in both])
        told["median_distance_fast"] = round(distances.median().item(), 4)
        told["places_in_both"] = len(both)
    print(json.dumps(told, indent=2))


def _places(found: Attribution, n: int) -> list[tuple[int, int]]:
    """Feature and position of the first contributions."""
    places = found.by_place()
    return list(zip(places.features_N[:n].tolist(), places.positions_N[:n].tolist(), strict=True))


if __name__ == "__main__":
    main()
