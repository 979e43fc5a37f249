"""AuxK: dead features model what the live ones leave over, and so come back to life (Gao et al., 2024).

Here what they offer is first made smaller, as a whole, to fit that best. What is left over is small, and most of what
they offer is too large for it: without the factor they would learn above all to be small, and a feature whose
pre-activations have shrunk does not get among the largest any more. In wide dictionaries and short trainings the loss
that should wake features then put them to sleep.
"""

from __future__ import annotations

from torch import Tensor

from semascope.kernels import Pattern, Selection, TopK, decode
from semascope.sae.base import Losses, Moment, SparseAutoencoder, VariantConfig
from semascope.sae.losses import fitting_factor, squared_deviation, squared_error


def auxiliary_selections(config: VariantConfig, moment: Moment) -> list[Selection]:
    """What AuxK needs of the encoder: nothing while no feature is dead."""
    if moment.dead_features is None or not config.auxiliary_coefficient:
        return []
    return [TopK(config.auxiliary_k, among_F=moment.dead_features)]


def auxiliary_term(
    autoencoder: SparseAutoencoder, auxiliary: list[tuple[Pattern, Tensor]], error_BO: Tensor
) -> dict[str, Tensor]:
    """``α · ‖e − sê‖² / ‖e‖²``: the share of the error that the dead features leave unexplained, or nothing.

    ``ê`` is what dead features offer, decoded without ReLU: one below zero must get a gradient too. ``s`` is the factor
    up to 1 that fits it to the error, a constant to the gradient. ``error_BO``: the error ``y − ŷ`` of the live
    features, without gradient.
    """
    if not auxiliary:
        return {}
    [(pattern, pre_K)] = auxiliary
    offered_K = autoencoder.auxiliary_values(pattern, pre_K)
    team = autoencoder.team
    found_BO = team.sum_features(decode(pattern, offered_K, autoencoder.W_dec_FO))
    # Never larger. What points away from the error has first to turn round: that is the published loss.
    factor = fitting_factor(found_BO, error_BO, team).clamp(max=1.0)
    unexplained = team.sum_rows(squared_error(factor * found_BO, error_BO))
    whole = team.sum_rows(error_BO.square().sum())
    return {"auxiliary": autoencoder.config.auxiliary_coefficient * unexplained / whole}


def normalized_losses(
    autoencoder: SparseAutoencoder, selection: Selection, x_BD: Tensor, target_BO: Tensor, moment: Moment
) -> Losses:
    """``‖y − ŷ‖² / variance``, the mean over prefixes, plus AuxK; codes are the selected pre-activations, rectified."""
    selections = [selection, *auxiliary_selections(autoencoder.config, moment)]
    (pattern, pre_K), *auxiliary = autoencoder.preactivations(x_BD, selections)
    values_K = pre_K.relu()
    found = autoencoder.reconstruction(pattern, values_K, x_BD, target_BO)
    terms = {"reconstruction": found.loss / squared_deviation(target_BO, moment.rows, autoencoder.team)}
    terms |= auxiliary_term(autoencoder, auxiliary, found.error_BO)
    return Losses.of(terms, found.squared_error, pattern.codes(values_K.detach()))
