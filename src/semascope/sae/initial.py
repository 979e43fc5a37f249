"""How trainings start."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from semascope.kernels import Above, Selection, TopK, decode, encode, kernels_for
from semascope.sae.base import SparseAutoencoder
from semascope.sae.losses import fitting_factor

# How many features are looked at together.
FEATURES_AT_ONCE = 4096
# Random rows that are drawn at once: a multiple of 16.
ROWS_AT_ONCE = 4096
# How many rows of the sample tell how large the encoder has to be.
ROWS_TO_FIT = 1024


def fill_with_directions(
    rows_FD: Tensor, generator: torch.Generator, *, features: int | None = None, held: slice | None = None
) -> None:
    """Make rows random unit vectors, evenly distributed over all directions, in place.

    ``features``, ``held``: how many rows there are in all, where these are only some of them. The numbers are those of
    one draw for all, without memory for the others: PyTorch draws by sixteens, so draws of multiples of 16 follow one
    another like parts of one. The last one takes what is left.
    """
    features, width = features or len(rows_FD), rows_FD.shape[1]
    held = held or slice(0, features)
    ends = [*range(ROWS_AT_ONCE, features - ROWS_AT_ONCE + 1, ROWS_AT_ONCE), features]
    for first, last in pairwise([0, *ends]):
        drawn_RD = torch.randn(last - first, width, generator=generator)
        kept_RD = drawn_RD[max(held.start - first, 0) : max(held.stop - first, 0)]
        place = max(first - held.start, 0)
        rows_FD[place : place + len(kept_RD)] = kept_RD / kept_RD.norm(dim=1, keepdim=True)


def unit_rows_about_the_median(
    autoencoder: SparseAutoencoder, sample_BD: Tensor, target_BO: Tensor, generator: torch.Generator
) -> None:
    """Gao et al. (2024): random unit encoder rows, the decoder the same, ``b_dec`` the geometric median.

    Pre-activations are about the median of the input too, by ``b_enc`` where ``b_dec`` is not subtracted. A transcoder
    decodes into another space: there a feature's row starts as the direction of the mean target where it is active.
    """
    fill_with_directions(autoencoder.W_enc_FD, generator, features=autoencoder.features, held=autoencoder.held)
    autoencoder.b_dec_O.copy_(geometric_median(target_BO))
    autoencoder.b_enc_F.zero_()
    if not autoencoder.centred:
        autoencoder.b_enc_F.copy_(-(autoencoder.W_enc_FD @ geometric_median(sample_BD)))
    if autoencoder.shape.output_width is None:
        autoencoder.W_dec_FO.copy_(autoencoder.W_enc_FD)
    else:
        autoencoder.W_dec_FO.copy_(_directions_of_targets(autoencoder, sample_BD, target_BO))


def scale_to_fit(autoencoder: SparseAutoencoder, selection: Selection, sample_BD: Tensor, target_BO: Tensor) -> Tensor:
    """Make the encoder larger or smaller, as a whole, so that what is selected adds up to the target as well as it can.

    Of many random directions the ones that fit best all point somewhat the same way: their sum is several times too
    large, and a training would begin by unlearning that. What stays above a barrier alone may be as much too small.
    Returns the factor, for what else is in units of pre-activations: thresholds, and the biases of magnitudes.
    """
    team = autoencoder.team
    own = team.rows(min(ROWS_TO_FIT, len(sample_BD)))
    [(pattern, pre_K)] = autoencoder.preactivations(sample_BD[own], [selection])
    values_K = autoencoder.activation(pattern, pre_K)
    found_BO = team.sum_features(decode(pattern, values_K, autoencoder.W_dec_FO))
    # Rounded, so that however many processes add up the rows, they start from the same bits.
    factor = fitting_factor(found_BO, target_BO[own] - autoencoder.b_dec_O, team).round(decimals=3)
    autoencoder.W_enc_FD.mul_(factor)
    autoencoder.b_enc_F.mul_(factor)
    return factor


def firing_limits(
    autoencoder: SparseAutoencoder, sample_BD: Tensor, l0: float, *, among: Tensor | slice = slice(None)
) -> Tensor:
    """[F]: the pre-activation that each feature exceeds on a share ``l0 / F`` of the sample, or at least once.

    Together all features are then active ``l0`` times a token, and none is dead: how Conerly et al. (January 2025)
    start. ``among``: some of the features, in place of all.
    """
    rows_FD = autoencoder.W_enc_FD[among]
    if not len(rows_FD):
        return rows_FD.new_zeros(0)
    often = max(1, round(len(sample_BD) * l0 / autoencoder.features))
    centred_BD = sample_BD if autoencoder.centre_D is None else sample_BD - autoencoder.centre_D
    # The encoder's search for the largest, the other way round: of each feature, among the rows of the sample.
    most, no_bias_B = min(often + 1, len(sample_BD)), sample_BD.new_zeros(len(sample_BD))
    limits: list[Tensor] = []
    for part in rows_FD.split(FEATURES_AT_ONCE):
        [(_, largest_K)] = encode(part, None, centred_BD, no_bias_B, [TopK(most)])
        # Between the last that is to exceed it and the next one, so that no rounding decides.
        limits.append(largest_K.view(len(part), most).topk(min(2, most), largest=False).values.mean(dim=1))
    return torch.cat(limits) + autoencoder.b_enc_F[among]


def geometric_median(points_ND: Tensor, *, iterations: int = 50) -> Tensor:
    """The point [D] with the least sum of distances to the given ones, by Weiszfeld's iteration."""
    median_D = points_ND.mean(dim=0)
    for _ in range(iterations):
        weights_N = 1.0 / (points_ND - median_D).norm(dim=1).clamp_min(1e-6)
        median_D = (weights_N @ points_ND) / weights_N.sum()
    return median_D


def _directions_of_targets(autoencoder: SparseAutoencoder, sample_BD: Tensor, target_BO: Tensor) -> Tensor:
    """[F, O], unit rows: the mean of ``target − b_dec`` weighted by how far each feature is above its usual limit."""
    limits_F = firing_limits(autoencoder, sample_BD, l0=32)
    [(pattern, pre_K)] = encode(
        sample_BD, autoencoder.centre_D, autoencoder.W_enc_FD, autoencoder.b_enc_F, [Above(limits_F)]
    )
    kernels = kernels_for(pre_K)
    means_TO = kernels.weight_gradient(pattern, pre_K.relu(), target_BO - autoencoder.b_dec_O)
    directions_FO = torch.ones_like(autoencoder.W_dec_FO)
    by_feature = pattern.transposed(kernels.transpose)
    occurring_T = by_feature.offsets.diff() > 0
    directions_FO[by_feature.features_T[occurring_T]] = means_TO[occurring_T]
    return directions_FO / directions_FO.norm(dim=1, keepdim=True).clamp_min(1e-12)
