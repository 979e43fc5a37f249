"""A whole answer: what the model says, what each feature contributes to it, and whether ablation agrees.

N contributions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from semascope.attribution.ablation import Ablated, ablate_sample
from semascope.attribution.comparison import Agreement, agreement
from semascope.attribution.contributions import Contributions
from semascope.attribution.first_order import Attribution, attribute
from semascope.attribution.question import Question
from semascope.models import LanguageModel
from semascope.records import Site
from semascope.sae import SparseAutoencoder
from semascope.text import Tokenizer, token_text

By = Literal["place", "feature"]


@dataclass(frozen=True)
class Explanation:
    """The contributions to a logit difference, each of a feature at a place or ``by`` feature, and their ablation."""

    attribution: Attribution
    by: By
    contributions: Contributions
    ablated: Ablated

    @cached_property
    def of_attribution(self) -> Agreement:
        """How well attribution tells what ablation does."""
        return self._agreement(self.contributions.attributions_N)

    @cached_property
    def of_activation(self) -> Agreement:
        """How well the strength of activation does."""
        return self._agreement(self.contributions.activations_N)

    def _agreement(self, predicted_N: Tensor) -> Agreement:
        compared_M = self.ablated.compared_M
        return agreement(predicted_N[compared_M], self.ablated.effects_N[compared_M], complete=self.ablated.complete)

    def as_json(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """Plain values, with all contributions, the largest attribution first."""
        found, question, n = self.attribution, self.attribution.question, len(self.contributions)
        texts = [token_text(token, tokenizer) for token in question.prompt]

        def shown(token: int | None) -> dict[str, Any] | None:
            return None if token is None else {"text": token_text(token, tokenizer), **asdict(found.prediction(token))}

        c = self.contributions
        columns = zip(
            c.features_N.tolist(), c.positions_N.tolist(), c.places_N.tolist(), c.activations_N.tolist(),
            c.attributions_N.tolist(), self.ablated.effects_N.tolist(), strict=True,
        )  # fmt: skip
        return {
            "tokens": texts,
            "left_out_positions": (~found.kept_T).nonzero()[:, 0].tolist(),
            "target": shown(question.target),
            "baseline": shown(question.baseline),
            "predictions": [shown(one.token) for one in found.predictions()],
            "logit_difference": found.parts.total,
            "parts": asdict(found.parts),
            "by": self.by,
            "contributions": [
                {
                    "feature": feature,
                    "position": position,
                    "token": texts[position],
                    "places": places,
                    "activation": activation,
                    "attribution": attribution,
                    "ablation": None if math.isnan(effect) else effect,
                }
                for feature, position, places, activation, attribution, effect in columns
            ],
            "compared": len(self.ablated.compared_M),
            "complete": self.ablated.complete and n > 0,
            "attribution_with_ablation": self.of_attribution.as_json(),
            "activation_with_ablation": self.of_activation.as_json(),
        }


def explaining(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    question: Question,
    *,
    by: By = "place",
    ablations: int = 1000,
    top: int = 20,
    seed: int = 0,
    output_site: Site | None = None,
    recent_medians: Sequence[Sequence[float]] = (),
    positions_at_once: int | None = None,
) -> Generator[Explanation]:
    """Attribute, and then ablate: the explanation before the first ablation, and again whenever more were made.

    The model should be in full precision, since most effects are small beside the logits.

    Args:
        ablations: how many contributions to ablate for the comparison: all, or a random sample by ``seed`` where there
            are more.
        top: with any ablations, the first so many contributions are ablated besides, and first.
        positions_at_once: how much is ablated between two explanations, where the memory would allow more.

    Other arguments and errors are those of `attribute`.
    """
    found = attribute(model, site, autoencoder, question, output_site=output_site, recent_medians=recent_medians)
    contributions = found.by_place() if by == "place" else found.by_feature()
    for ablated in ablate_sample(
        model, autoencoder, found, contributions, most=ablations, top=top if ablations else 0, seed=seed,
        positions_at_once=positions_at_once,
    ):  # fmt: skip
        yield Explanation(found, by, contributions, ablated)


def explain(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    question: Question,
    *,
    by: By = "place",
    ablations: int = 1000,
    top: int = 20,
    seed: int = 0,
    output_site: Site | None = None,
    recent_medians: Sequence[Sequence[float]] = (),
) -> Explanation:
    """The explanation with which `explaining` ends."""
    *_, explanation = explaining(
        model, site, autoencoder, question, by=by, ablations=ablations, top=top, seed=seed, output_site=output_site,
        recent_medians=recent_medians,
    )  # fmt: skip
    return explanation
