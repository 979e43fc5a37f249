"""Features against neurons: whether a feature is what a single neuron of an MLP before it says already.

For each feature the Pearson correlation, over tokens, with every neuron of the preceding layers, of which the highest
counts (Templeton et al., "Scaling Monosemanticity", 2024). All sums are gathered in one pass over the text where memory
allows, and in several passes, over some layers each, where it does not.

N tokens, F features, M neurons of a layer, T features that have entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from semascope import progress
from semascope.activations import OutlierFilter
from semascope.attribution.matches import FEWEST_ACTIVE, NeuronMatches
from semascope.errors import DataError, InputError
from semascope.kernels import Pattern, kernels_for
from semascope.models import LanguageModel, require_width
from semascope.records import Site, TokenBatch
from semascope.sae import SparseAutoencoder

# Enough that features have several entries each, so that sums of neurons are added to memory once for several tokens.
TOKENS_AT_ONCE = 2048
# Correlations that are computed at once.
NUMBERS_AT_ONCE = 1 << 24


def preceding_layers(site: Site) -> range:
    """The layers whose MLPs a site can depend on. Raises InputError when there are none."""
    layers = range(site.layer + (site.kind in ("resid_post", "mlp_out", "neurons")))
    if not layers:
        raise InputError(f"no MLP precedes {site}: features there cannot be compared with neurons")
    return layers


def match_neurons(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    windows: Sequence[TokenBatch],
    *,
    recent_medians: Sequence[Sequence[float]] = (),
    memory: float = 2e9,
) -> NeuronMatches:
    """Compare every feature with every neuron of the preceding layers, on the tokens that a dictionary reads.

    Args:
        windows: the text, all windows of one length.
        recent_medians: state of the training's outlier filter; the input site's is used.
        memory: bytes that the sums of products may take; more than that is gathered in several passes over the text,
            some layers at a time, one layer at least.

    Raises DataError when there is no text, InputError when no layer precedes the site, SiteError when the model's MLPs
    have no neurons that can be read.
    """
    if not windows:
        raise DataError("there is no text to compare features and neurons on: give more text")
    require_width(model, site, autoencoder.width)
    sites = [Site(layer, "neurons") for layer in preceding_layers(site)]
    groups = _groups(sites, [4 * autoencoder.features * model.width(one) for one in sites], memory)
    tokens = sum(batch.tokens_BT.numel() for batch in windows)
    best, features = _Best(autoencoder.features), _Features(autoencoder.features, model.device)
    with progress.task("Compare with neurons", total=tokens * len(groups), unit="tokens") as shown:
        for group in groups:
            sums = {one: _Products(autoencoder.features, model.width(one), model.device) for one in group}
            features = _Features(autoencoder.features, model.device)
            outliers = OutlierFilter(*recent_medians[:1])
            for tokens_BT in _joined(windows):
                read = model.activations_at(tokens_BT.to(model.device), [site, *group])
                keep_BT = outliers.keep(read[site])
                codes = autoencoder.encode(read[site][keep_BT].float())
                pattern = Pattern.of(codes)
                features.add(pattern, codes.values)
                for one in group:
                    sums[one].add(pattern, codes.values, read[one][keep_BT].float())
                shown.advance(tokens_BT.numel())
            for one in group:
                best.take(one.layer, sums.pop(one), features)
    return NeuronMatches(
        correlations_F=best.highest_F,
        layers_F=best.layers_F,
        neurons_F=best.neurons_F,
        lowest_F=best.lowest_F,
        active_F=features.active_F.cpu(),
        tokens=features.tokens,
        layers=tuple(one.layer for one in sites),
        neurons=sum(model.width(one) for one in sites),
    )


class _Features:
    """What a correlation needs of the features alone."""

    def __init__(self, n_features: int, device: torch.device) -> None:
        self.tokens = 0
        self.active_F = torch.zeros(n_features, dtype=torch.int64, device=device)
        self.sum_F = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.squares_F = torch.zeros_like(self.sum_F)

    def add(self, pattern: Pattern, values_K: Tensor) -> None:
        ids_K, values_K = pattern.feature_ids, values_K.double()
        self.tokens += pattern.n_rows
        self.active_F.index_add_(0, ids_K, (values_K > 0).long())
        self.sum_F.index_add_(0, ids_K, values_K)
        self.squares_F.index_add_(0, ids_K, values_K.square())


class _Products:
    """Sums over tokens of feature times neuron for one layer; neurons are taken about a mean that is near their own,
    which changes no correlation and keeps float32 exact enough."""

    def __init__(self, n_features: int, n_neurons: int, device: torch.device) -> None:
        self.products_FM = torch.zeros(n_features, n_neurons, device=device)
        self.sum_M = torch.zeros(n_neurons, dtype=torch.float64, device=device)
        self.squares_M = torch.zeros_like(self.sum_M)
        self._centre_M: Tensor | None = None

    def add(self, pattern: Pattern, values_K: Tensor, neurons_NM: Tensor) -> None:
        if self._centre_M is None:
            self._centre_M = neurons_NM.mean(dim=0)
        neurons_NM = neurons_NM - self._centre_M
        kernels = kernels_for(neurons_NM)
        # The kernel of the decoder's gradient is codesᵀ · dense, for the features that have entries.
        added_TM = kernels.weight_gradient(pattern, values_K, neurons_NM)
        self.products_FM.index_add_(0, pattern.transposed(kernels.transpose).features_T, added_TM)
        self.sum_M += neurons_NM.sum(dim=0, dtype=torch.float64)
        self.squares_M += neurons_NM.square().sum(dim=0, dtype=torch.float64)


class _Best:
    """The most and the least similar neuron of each feature so far."""

    def __init__(self, n_features: int) -> None:
        self.highest_F = torch.full((n_features,), torch.nan)
        self.lowest_F = torch.full((n_features,), torch.nan)
        self.layers_F = torch.full((n_features,), -1, dtype=torch.int64)
        self.neurons_F = torch.full((n_features,), -1, dtype=torch.int64)

    def take(self, layer: int, sums: _Products, features: _Features) -> None:
        n = features.tokens
        mean_M = sums.sum_M / n
        spread_M = (sums.squares_M / n - mean_M.square()).clamp_min(0).sqrt().float()
        alive_M = spread_M > 0
        mean_F = features.sum_F / n
        spread_F = (features.squares_F / n - mean_F.square()).clamp_min(0).sqrt().float()
        compared_F = (features.active_F >= FEWEST_ACTIVE) & (spread_F > 0)
        for rows in compared_F.nonzero()[:, 0].split(max(1, NUMBERS_AT_ONCE // len(mean_M))):
            r_RM = sums.products_FM[rows].div_(n).addr_(mean_F[rows].float(), mean_M.float(), alpha=-1)
            r_RM.div_(spread_F[rows, None]).div_(spread_M).masked_fill_(~alive_M, 0)
            highest_R, neurons_R = (found.cpu() for found in r_RM.max(dim=1))
            lowest_R, rows = r_RM.min(dim=1).values.cpu(), rows.cpu()
            self.lowest_F[rows] = torch.fmin(self.lowest_F[rows], lowest_R)
            better_R = ~(highest_R <= self.highest_F[rows])  # also where there is none so far
            rows, highest_R, neurons_R = rows[better_R], highest_R[better_R], neurons_R[better_R]
            self.highest_F[rows], self.neurons_F[rows], self.layers_F[rows] = highest_R, neurons_R, layer


def _groups(sites: Sequence[Site], sizes: Sequence[int], most: float) -> list[list[Site]]:
    """Sites in order, as many together as ``most`` bytes hold, one at least."""
    groups: list[list[Site]] = []
    room = 0.0
    for site, size in zip(sites, sizes, strict=True):
        if not groups or size > room:
            groups.append([])
            room = most
        groups[-1].append(site)
        room -= size
    return groups


def _joined(windows: Sequence[TokenBatch]) -> Iterator[Tensor]:
    """Tokens [B, T] of several batches at once."""
    waiting: list[Tensor] = []
    for batch in windows:
        waiting.append(batch.tokens_BT)
        if sum(tokens_BT.numel() for tokens_BT in waiting) >= TOKENS_AT_ONCE:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)
