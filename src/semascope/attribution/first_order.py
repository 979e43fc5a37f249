"""Attribution: what each active feature contributes to a difference of logits, to first order.

Of feature i at position t it is ``f_i(t) · (W_dec_i · ∇_t)``, where ``∇_t`` is the gradient of the difference in the
activation at t (Templeton et al., "Scaling Monosemanticity", 2024). One pass forward and one backward give them all.

T positions, D width, O width of what is reconstructed (D but for transcoders), K active entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.activations import OutlierFilter
from semascope.attribution.contributions import Contributions, grouped
from semascope.attribution.question import Question
from semascope.kernels import Pattern, kernels_for
from semascope.models import LanguageModel, require_width
from semascope.records import Site
from semascope.sae import SparseAutoencoder


@dataclass(frozen=True, slots=True)
class Parts:
    """What a logit difference consists of; the parts add up to it.

    With y the activation and ∇ the gradient, ``Σ_t y_t · ∇_t`` is the sum of ``features``, ``bias`` (the decoder's),
    ``skip`` (a transcoder's connection), ``error`` (what the dictionary does not reconstruct) and ``left_out`` (the
    whole activation at the first position and at massive ones, from which a dictionary does not learn). ``rest`` is
    what this sum, and so any attribution to the activation, does not explain: the constant of a linear model; of any
    other also what is not linear in the activation.
    """

    features: float
    bias: float
    skip: float
    error: float
    left_out: float
    rest: float

    @property
    def total(self) -> float:
        """The logit difference."""
        return self.features + self.bias + self.skip + self.error + self.left_out + self.rest


@dataclass(frozen=True, slots=True)
class Prediction:
    """A token that may follow: its probability, and its rank among all, from 1."""

    token: int
    probability: float
    rank: int


@dataclass(frozen=True)
class Attribution:
    """The active features of a prompt with their attributions, and what is left.

    ``features_K``, ``positions_K``, ``activations_K``, ``attributions_K``: an entry for each feature that is active at
    a position; float32. ``activation_TO`` and ``gradient_TO``: at the site that the dictionary reconstructs, float32.
    ``kept_T``: which positions the dictionary reads. ``logits_V``: for the next token, as the model gives them.
    """

    question: Question
    site: Site
    features_K: Tensor
    positions_K: Tensor
    activations_K: Tensor
    attributions_K: Tensor
    activation_TO: Tensor
    gradient_TO: Tensor
    kept_T: Tensor
    logits_V: Tensor
    parts: Parts

    def predictions(self, n: int = 5) -> list[Prediction]:
        """The model's own most likely next tokens."""
        return [self.prediction(token) for token in self.logits_V.topk(n).indices.tolist()]

    def prediction(self, token: int) -> Prediction:
        """What the model gives one token."""
        logits_V = self.logits_V
        return Prediction(token, logits_V.softmax(dim=0)[token].item(), int((logits_V > logits_V[token]).sum()) + 1)

    def by_place(self) -> Contributions:
        """Each feature at each position by itself."""
        return self._grouped(torch.arange(len(self.features_K), device=self.features_K.device))

    def by_feature(self) -> Contributions:
        """Each feature over all positions."""
        return self._grouped(self.features_K)

    def _grouped(self, keys_K: Tensor) -> Contributions:
        return grouped(keys_K, self.features_K, self.positions_K, self.activations_K, self.attributions_K)


def attribute(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    question: Question,
    *,
    output_site: Site | None = None,
    recent_medians: Sequence[Sequence[float]] = (),
) -> Attribution:
    """Attribute a difference of logits to the features of a dictionary (folded, for raw activations, on the device).

    Args:
        output_site: whose activations a transcoder predicts; None for an autoencoder.
        recent_medians: state of the training's outlier filter, so that the same activations count as massive.

    Raises ModelError for a prompt beyond the context, MismatchError when the dictionary is for another width.
    """
    written = output_site or site
    require_width(model, site, autoencoder.width)
    require_width(model, written, autoencoder.output_width)
    tokens_1T = question.tokens_T[None].to(model.device)
    found = model.sensitivity(tokens_1T, written, lambda logits_BTV: question.value(logits_BTV[:, -1].float()).sum())
    y_TO, gradient_TO = found.activation_BTD[0].float(), found.gradient_BTD[0].float()
    inputs_1TD = [found.activation_BTD] if output_site is None else [model.activations(tokens_1T, site)]
    keep_T = OutlierFilter(*recent_medians).keep(*dict.fromkeys([*inputs_1TD, found.activation_BTD]))[0]

    x_ND, gradient_NO = inputs_1TD[0][0][keep_T].float(), gradient_TO[keep_T]
    codes = autoencoder.encode(x_ND)
    pattern, W_dec_FO = Pattern.of(codes), autoencoder.W_dec_FO.detach()
    # The kernel of the gradient of codes: ⟨gradient row, decoder row⟩ where features are active.
    attributions_K = codes.values * kernels_for(x_ND).code_gradient(pattern, gradient_NO, W_dec_FO)
    active_K = codes.values > 0

    def share(part_NO: Tensor, gradient_NO: Tensor = gradient_NO) -> float:
        return (part_NO.double() * gradient_NO.double()).sum().item()

    decoded_NO = autoencoder.decode(codes)
    predicted_NO = autoencoder.predict(x_ND, codes)
    value = question.value(found.logits_BTV[:, -1].float()).item()
    named = {
        "features": attributions_K.double().sum().item(),
        "bias": share(autoencoder.b_dec_O.detach().expand_as(gradient_NO)),
        "skip": share(predicted_NO - decoded_NO),
        "error": share(y_TO[keep_T] - predicted_NO),
        "left_out": share(y_TO[~keep_T], gradient_TO[~keep_T]),
    }
    return Attribution(
        question,
        written,
        features_K=codes.feature_ids[active_K],
        positions_K=keep_T.nonzero()[:, 0][codes.row_ids()][active_K],
        activations_K=codes.values[active_K],
        attributions_K=attributions_K[active_K],
        activation_TO=y_TO,
        gradient_TO=gradient_TO,
        kept_T=keep_T,
        logits_V=found.logits_BTV[0, -1].float(),
        parts=Parts(**named, rest=value - sum(named.values())),
    )
