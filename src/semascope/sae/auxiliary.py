"""AuxK: dead features model what the live ones leave over, and so come back to life (Gao et al., 2024)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from semascope.kernels import Pattern, Selection, TopK, decode
from semascope.sae.base import Losses, Moment, SparseAutoencoder, VariantConfig
from semascope.sae.losses import squared_deviation, squared_error


class AuxiliarySettings(VariantConfig):
    """Settings of AuxK: up to ``auxiliary_k`` dead features a token; a coefficient of 0 turns it off."""

    auxiliary_k: int = Field(default=256, ge=1)
    auxiliary_coefficient: float = Field(default=1 / 32, ge=0)

    def auxiliary_selections(self, moment: Moment) -> list[Selection]:
        """What AuxK needs of the encoder: nothing while no feature is dead."""
        if moment.dead_features is None or not self.auxiliary_coefficient:
            return []
        return [TopK(self.auxiliary_k, among_F=moment.dead_features)]


def auxiliary_term(
    config: AuxiliarySettings, auxiliary: list[tuple[Pattern, Tensor]], error_BD: Tensor, W_dec_FD: Tensor
) -> dict[str, Tensor]:
    """``α · ‖e − ê‖² / ‖e‖²``: the share of the error that the dead features leave unexplained, or nothing.

    ``ê`` is their raw pre-activations decoded, without ReLU: a dead feature below zero must get a gradient too.
    ``error_BD``: the error ``x − x̂`` of the live features, without gradient.
    """
    if not auxiliary:
        return {}
    [(pattern, pre_K)] = auxiliary
    unexplained = squared_error(decode(pattern, pre_K, W_dec_FD), error_BD)
    return {"auxiliary": config.auxiliary_coefficient * unexplained / error_BD.square().sum()}


def normalized_losses(
    autoencoder: SparseAutoencoder[AuxiliarySettings], selection: Selection, x_BD: Tensor, moment: Moment
) -> Losses:
    """``‖x − x̂‖² / variance``, the mean over prefixes, plus AuxK; codes are the selected pre-activations, rectified."""
    config = autoencoder.config
    (pattern, pre_K), *auxiliary = autoencoder.preactivations(x_BD, [selection, *config.auxiliary_selections(moment)])
    values_K = pre_K.relu()
    found = autoencoder.reconstruction(pattern, values_K, x_BD)
    terms = {"reconstruction": found.loss / squared_deviation(x_BD)}
    terms |= auxiliary_term(config, auxiliary, found.error_BD, autoencoder.W_dec_FD)
    return Losses.of(terms, found.squared_error, pattern.codes(values_K.detach()))
