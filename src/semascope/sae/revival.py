"""How features that have fallen silent come back.

Where a feature fires by itself, whatever the others do, a lower barrier brings it back (see `barrier`). Where the
features of a token compete, as in TopK, and where a lower barrier did not help, it comes back as another feature:
pointing where a token's reconstruction is wrong, as large as it takes to be chosen (after the neuron resampling of
Bricken et al., "Towards Monosemanticity", 2023, which waits for many more tokens, and leaves the size to a constant).

What comes back fires seldom at first, lest many at once, most of them on noise, push the others out: `REVIVED_DENSITY`
of the average, or the average itself on rows that it was made from, for on others it fires less.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import normalize

from semascope.kernels import BatchTopK, decode
from semascope.sae.base import SparseAutoencoder, VariantConfig
from semascope.sae.initial import firing_limits

# How often revived features fire at first, relative to what all do on average: enough to learn from, and little enough
# for the L0 to stay as it is asked for where many come back late.
REVIVED_DENSITY = 0.25
# Of so many rows each, one is chosen for a feature to point where it is reconstructed badly. As an outlier counts for
# no more than two rows, hardly any is chosen twice.
ROWS_TO_CHOOSE_FROM = 4
# The largest encoder rows that revived features get, where decoder rows have norm 1.
LARGEST = 4.0


def revival_limits(
    autoencoder: SparseAutoencoder[VariantConfig], dead_T: Tensor, x_BD: Tensor, l0: float
) -> tuple[Tensor, Tensor]:
    """Which dead features to revive, and the pre-activations that they exceed on as many rows as they should.

    That is `REVIVED_DENSITY` of what a feature does on average. Where it is less than one row, each is to exceed its
    limit on one, and so many of them are left out, from the end, that together they fire no more often.
    """
    seldom = REVIVED_DENSITY * l0
    revived_T = dead_T[: ceil(_share_to_revive(autoencoder, len(x_BD), seldom) * len(dead_T))]
    return revived_T, firing_limits(autoencoder, x_BD, seldom, among=revived_T)


@torch.no_grad()
def start_afresh(
    autoencoder: SparseAutoencoder[VariantConfig], dead_T: Tensor, x_BD: Tensor, target_BO: Tensor, l0: float, *,
    least: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Give as many of the dead features as may come back new directions, each that of a row's error.

    A row is chosen the more likely the larger its squared error is, but hardly ever twice. All of the team take part,
    also who has no dead feature.

    Returns:
        Which, and the pre-activation that each now exceeds on as many of the rows as features are active on average:
        the least of the ``l0`` largest of a row, on average, or ``least``.
    """
    team = autoencoder.team
    rows_for_each = len(x_BD) / max(1, sum(team.by_features(len(dead_T))))
    share = min(_share_to_revive(autoencoder, len(x_BD), l0), rows_for_each / ROWS_TO_CHOOSE_FROM)
    # In the order of the features: however these are divided, each gets the same row.
    revived_T = dead_T[: ceil(share * len(dead_T))].sort().values
    counts = team.by_features(len(revived_T))
    if not sum(counts):
        return revived_T, x_BD.new_tensor(least)
    rows = slice(-ROWS_TO_CHOOSE_FROM * sum(counts), None)
    error_BO, least_kept = _left_over(autoencoder, x_BD[rows], target_BO[rows], l0)
    chosen_N = _rows_with_large_errors(error_BO, sum(counts))
    first = sum(counts[: team.feature_part])
    chosen_T = chosen_N[first : first + len(revived_T)]
    _point(autoencoder, revived_T, x_BD[rows][chosen_T], error_BO[chosen_T], x_BD.mean(dim=0))
    limits_T = firing_limits(autoencoder, x_BD, l0, among=revived_T)
    # As large as it takes to be among those that are kept; a direction that no row agrees with stays small.
    limit = least_kept.clamp_min(least)
    sizes_T = torch.where(limit > 0, limit / torch.maximum(limits_T, limit / LARGEST), 1.0)
    autoencoder.W_enc_FD[revived_T] *= sizes_T[:, None]
    autoencoder.b_enc_F[revived_T] *= sizes_T
    return revived_T, limit


def _share_to_revive(autoencoder: SparseAutoencoder[VariantConfig], n_rows: int, l0: float) -> float:
    """Of the dead features: those that may fire on one row each, if ``l0`` of all may fire on a row."""
    return min(1.0, n_rows * l0 / autoencoder.features)


def _left_over(
    autoencoder: SparseAutoencoder[VariantConfig], x_BD: Tensor, target_BO: Tensor, l0: float
) -> tuple[Tensor, Tensor]:
    """The error ``y − ŷ`` of each row, and the least activation that is kept, with ``l0`` of them a row on average."""
    team = autoencoder.team
    [(pattern, pre_K)] = autoencoder.preactivations(x_BD, [BatchTopK(round(l0))])
    found_BO = team.sum_features(decode(pattern, pre_K.relu(), autoencoder.W_dec_FO)) + autoencoder.b_dec_O
    error_BO = autoencoder.beyond_skip(x_BD, target_BO) - found_BO
    least = team.least(pre_K.min() if len(pre_K) else pre_K.new_tensor(torch.inf))
    # All see these rows: who has the same features is to have the same bits.
    return team.sum_rows(error_BO) / team.row_parts, least


def _rows_with_large_errors(error_BO: Tensor, count: int) -> Tensor:
    """[count]: rows drawn evenly along the sum of their squared errors, an outlier's as twice the median's."""
    squares_B = error_BO.square().sum(dim=1)
    ends_B = squares_B.clamp(max=2.0 * squares_B.median()).cumsum(dim=0)
    places_N = (torch.arange(count, device=ends_B.device) + 0.5) / count
    return torch.searchsorted(ends_B, places_N * ends_B[-1]).clamp(max=len(ends_B) - 1)


def _point(
    autoencoder: SparseAutoencoder[VariantConfig], revived_T: Tensor, x_TD: Tensor, error_TO: Tensor, mean_D: Tensor
) -> None:
    """Have features write what is missing of these rows, and read the same: a transcoder, what sets the rows apart."""
    autoencoder.W_dec_FO[revived_T] = normalize(error_TO)
    read_TD = normalize(error_TO if autoencoder.shape.output_width is None else x_TD - mean_D)
    autoencoder.W_enc_FD[revived_T] = read_TD
    autoencoder.b_enc_F[revived_T] = 0.0 if autoencoder.centred else -(read_TD @ mean_D)
