"""What a comparison of features with neurons found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.errors import DataError
from semascope.evaluation import wilson_interval

THRESHOLD = 0.3
"""The correlation up to which the paper counts a feature as unlike any neuron."""

FEWEST_ACTIVE = 10
"""On how many tokens a feature must fire to be compared: of thousands of neurons, some fire on any one token."""


@dataclass(frozen=True)
class NeuronMatches:
    """For each feature its most similar neuron.

    ``correlations_F`` float32, NaN for features that fired on fewer than 10 tokens; ``layers_F`` and ``neurons_F``
    int64: where that neuron is. ``lowest_F``: the lowest correlation, of the neuron that most says the opposite.
    ``active_F`` int64: on how many of the ``tokens`` a feature fired. ``layers`` were compared, with so many
    ``neurons`` in all.
    """

    correlations_F: Tensor
    layers_F: Tensor
    neurons_F: Tensor
    lowest_F: Tensor
    active_F: Tensor
    tokens: int
    layers: tuple[int, ...]
    neurons: int

    @property
    def compared_F(self) -> Tensor:
        """bool: the features that fired often enough."""
        return ~self.correlations_F.isnan()

    def share_at_most(self, threshold: float = THRESHOLD) -> tuple[float, tuple[float, float]]:
        """The share of compared features whose best correlation is not above the threshold, and its 95 % interval
        (Wilson's score). Raises DataError when no feature was compared."""
        found_C = self.correlations_F[self.compared_F]
        if not len(found_C):
            raise DataError(
                f"no feature fired on {FEWEST_ACTIVE} of {self.tokens:,} tokens, so none can be compared with neurons: "
                "read more tokens"
            )
        n_at_most = int((found_C <= threshold).sum())
        return n_at_most / len(found_C), wilson_interval(n_at_most, len(found_C))

    def as_json(self, *, bins: int = 20, examples: int = 10) -> dict[str, object]:
        """Plain values: the distribution, and the features that are most and least like a neuron."""
        share, bounds = self.share_at_most()
        found_C = self.correlations_F[self.compared_F]
        order = self.compared_F.nonzero()[:, 0][found_C.argsort(descending=True)].tolist()
        return {
            "tokens": self.tokens,
            "layers": list(self.layers),
            "neurons": self.neurons,
            "features": len(self.correlations_F),
            "compared": len(found_C),
            "fewest_active": FEWEST_ACTIVE,
            "threshold": THRESHOLD,
            "share_at_most_threshold": share,
            "share_interval": bounds,
            "share_at_most_threshold_either_sign": (
                (torch.maximum(found_C, -self.lowest_F[self.compared_F]) <= THRESHOLD).double().mean().item()
            ),
            "quantiles": {f"{q:g}": found_C.double().quantile(q).item() for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
            "histogram": found_C.clamp(0, 1).histc(bins, 0, 1).int().tolist(),
            "best_neuron_in_layer": {
                str(layer): int((self.layers_F[self.compared_F] == layer).sum()) for layer in self.layers
            },
            "most_like_a_neuron": [self._example(feature) for feature in order[:examples]],
            "least_like_a_neuron": [self._example(feature) for feature in order[::-1][:examples]],
        }

    def _example(self, feature: int) -> dict[str, float | int]:
        return {
            "feature": feature,
            "correlation": self.correlations_F[feature].item(),
            "layer": int(self.layers_F[feature]),
            "neuron": int(self.neurons_F[feature]),
            "active": int(self.active_F[feature]),
        }
