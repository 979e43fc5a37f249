"""What a run's dictionary sees in a text, by what it does for the next token.

T tokens, K activations, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.attribution import Prediction, Question, attribute
from semascope.runs.folder import RunFolder
from semascope.runs.reading import Reading, beginning

_LIKELY = 5


@dataclass(frozen=True, slots=True)
class AttributedReading:
    """A reading with what each activation adds to a logit difference, to first order, [K].

    The ``difference`` is that of the ``target`` and the ``baseline``, or the mean of all tokens where that is None, for
    the token after the text. ``likely``: what the model itself would go on with.
    """

    reading: Reading
    attributions_K: NDArray[np.float32]
    difference: float
    target: Prediction
    baseline: Prediction | None
    likely: tuple[Prediction, ...]


def read_for(
    run: RunFolder, text: str, tokens: tuple[int, ...], target: str | None, baseline: str | None
) -> AttributedReading:
    """Read a text and attribute the next token to its features, in full precision.

    ``tokens`` are those of the text. ``target``: None takes the likeliest; of one with several tokens, or a baseline,
    the first counts. Raises ConfigError when both are the same, ModelError for a text beyond the model's context.
    """
    model, prompt = run.source.exact_model, (beginning(run), *tokens)
    if target is not None:
        asked = Question.read(run.tokenizer, text, target, baseline, first_token=True)
        question = Question(prompt, asked.target, asked.baseline)
    else:
        with torch.no_grad():
            logits_V = model.logits(torch.tensor([prompt], device=model.device))[0, -1]
        question = Question(prompt, int(logits_V.argmax()))
    found = attribute(
        model,
        run.site,
        run.dictionary.to(model.device),
        question,
        output_site=run.output_site if run.config.output_site else None,
        recent_medians=run.saved.metadata.get("recent_medians", ()),
    )
    positions_K, features_K, values_K, attributions_K = (
        part_K.cpu().numpy()
        for part_K in (found.positions_K - 1, found.features_K, found.activations_K, found.attributions_K)
    )
    order = np.lexsort((features_K, -values_K, positions_K))
    return AttributedReading(
        Reading(tokens, positions_K[order], features_K[order], values_K[order]),
        attributions_K[order],
        difference=found.parts.total,
        target=found.prediction(question.target),
        baseline=None if question.baseline is None else found.prediction(question.baseline),
        likely=tuple(found.predictions(_LIKELY)),
    )
