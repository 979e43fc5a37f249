"""What turns a feature on, and what it makes the model say: two numbers for each feature.

Arad, Mueller, Belinkov, "SAEs Are Good for Steering – If You Select the Right Features" (2025). Both compare with the
``LISTED`` tokens that the feature's decoder direction promotes by itself, through final norm and unembedding:

- input score: of the texts in which the feature is strongest (up to 100), the share in which the token at the peak is
  one of them;
- output score: ``max p · (1 − min rank / V)`` of them, for the token after a neutral text, at whose last position 10
  times the largest activation there was added to the feature.

A feature with a high output score says what it stands for when it is turned up; steering with the others mostly does
harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from semascope import progress
from semascope.errors import ConfigError
from semascope.features import FeatureIndex
from semascope.records import Intervention
from semascope.steering.generation import Steering

LISTED = 20
NEUTRAL_TEXT = "From my experience,"
_AMPLIFICATION = 10.0
_TEXTS = 100
_FEATURES_AT_ONCE = 64


@torch.no_grad()
def feature_scores(
    steering: Steering, index: FeatureIndex, features: Sequence[int]
) -> Iterator[tuple[int, float, float]]:
    """Each feature with its input score and its output score.

    Raises ConfigError for features outside the residual stream, which promote nothing by themselves.
    """
    if not steering.output_site.writes_residual:
        raise ConfigError(
            f"features at {steering.output_site} are not in the residual stream, and have no tokens of their own that "
            "they promote: input and output scores are for the other sites"
        )
    peaks = index.peak_tokens(_TEXTS)
    with progress.task("Score features", total=len(features), unit="features") as shown:
        for first in range(0, len(features), _FEATURES_AT_ONCE):
            some = list(features[first : first + _FEATURES_AT_ONCE])
            directions_nO = steering.dictionary.W_dec_FO[torch.tensor(some, device=steering.model.device)]
            own_nK = steering.model.promoted(directions_nO).topk(min(LISTED, steering.model.vocabulary)).indices
            outputs = _output_scores(steering, some, own_nK).tolist()
            for feature, own, output in zip(some, own_nK.tolist(), outputs, strict=True):
                tokens = peaks.get(feature, [])
                yield feature, sum(token in own for token in tokens) / max(1, len(tokens)), output
            shown.advance(len(some))


def _output_scores(steering: Steering, features: Sequence[int], own_nK: Tensor) -> Tensor:
    tokens = steering.tokens(NEUTRAL_TEXT, chat=False)
    tokens_nT = torch.tensor([tokens] * len(features), device=steering.model.device)
    x_D = steering.model.activations(tokens_nT[:1], steering.site)[0, -1].float()
    amount = _AMPLIFICATION * float(steering.dictionary.encode(x_D[None]).values.max())
    last = len(tokens) - 1
    ops = [[Intervention(feature, "add", amount, in_maxima=False, start=last)] for feature in features]
    p_nV = steering.logits(tokens_nT, steering.edits(ops))[:, -1].float().softmax(dim=1)
    # The likeliest of a feature's tokens has the smallest rank too.
    best_n1 = p_nV.gather(1, own_nK).amax(dim=1, keepdim=True)
    ranks_n = (p_nV > best_n1).sum(dim=1)
    return best_n1[:, 0] * (1 - ranks_n / p_nV.shape[1])
