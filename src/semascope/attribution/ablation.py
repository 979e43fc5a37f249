"""Ablation: what becomes of a difference of logits when a feature is set to 0 and the model runs on.

The error of the dictionary is kept: an activation y becomes ``y − f_i · W_dec_i`` where the feature was active.

N contributions, M of them that are ablated, T positions, O width of what is reconstructed, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope import progress
from semascope.attribution.contributions import Contributions
from semascope.attribution.first_order import Attribution
from semascope.models import LanguageModel
from semascope.sae import SparseAutoencoder

# Numbers of activations that are changed at once: 64 MiB of them, and as many positions as fill a GPU.
NUMBERS_AT_ONCE = 1 << 24


def ablate(
    model: LanguageModel,
    autoencoder: SparseAutoencoder,
    attribution: Attribution,
    contributions: Contributions,
    chosen_M: Tensor | None = None,
) -> Tensor:
    """[M]: how much lower the logit difference is without each contribution, float32.

    Positive for what speaks for the target, as its attribution is. ``chosen_M``: which contributions, by number; None
    for all.
    """
    if chosen_M is None:
        chosen_M = torch.arange(len(contributions), device=contributions.features_N.device)
    effects = list(_effects(model, autoencoder, attribution, contributions, chosen_M))
    return torch.cat(effects) if effects else attribution.attributions_K.new_zeros(0)


def _effects(
    model: LanguageModel,
    autoencoder: SparseAutoencoder,
    attribution: Attribution,
    contributions: Contributions,
    chosen_M: Tensor,
    positions_at_once: int | None = None,
) -> Iterator[Tensor]:
    """The effects [m] of some contributions after others, in the order of ``chosen_M``."""
    tokens_T = attribution.question.tokens_T.to(model.device)
    most = NUMBERS_AT_ONCE // attribution.activation_TO.numel()
    if positions_at_once is not None:
        most = min(most, positions_at_once // len(tokens_T))
    with progress.task("Ablate", total=len(chosen_M), unit="ablations") as shown:
        for part_M in chosen_M.split(max(1, most)) if len(chosen_M) else ():
            changed_MTO = _changed(autoencoder, attribution, contributions, part_M)
            # The untouched activation goes along, so that whatever rounding does it does to both.
            rows_MTO = torch.cat([attribution.activation_TO[None], changed_MTO])
            value_M = attribution.question.value(model.branch(tokens_T, attribution.site, rows_MTO).float())
            yield value_M[0] - value_M[1:]
            shown.advance(len(part_M))


def _changed(
    autoencoder: SparseAutoencoder, attribution: Attribution, contributions: Contributions, part_M: Tensor
) -> Tensor:
    """The activations [m, T, O] without one contribution each."""
    y_TO, W_dec_FO = attribution.activation_TO, autoencoder.W_dec_FO.detach()
    row_N = torch.full((len(contributions),), -1, device=part_M.device)
    row_N[part_M] = torch.arange(len(part_M), device=part_M.device)
    row_K = row_N[contributions.groups_K]
    entries = (row_K >= 0).nonzero()[:, 0]
    added_KO = attribution.activations_K[entries, None] * W_dec_FO[attribution.features_K[entries]]
    places_K = row_K[entries] * len(y_TO) + attribution.positions_K[entries]
    changed_MTO = y_TO.repeat(len(part_M), 1, 1)
    changed_MTO.view(-1, y_TO.shape[1]).index_add_(0, places_K, added_KO, alpha=-1)
    return changed_MTO


@dataclass(frozen=True, slots=True)
class Ablated:
    """The effects of ablating some contributions.

    ``effects_N``: NaN where a contribution was not ablated, or not yet. ``compared_M``: which of them a comparison may
    use without bias: all, or a random sample.
    """

    effects_N: Tensor
    compared_M: Tensor

    @property
    def complete(self) -> bool:
        """Whether every contribution was ablated."""
        return len(self.compared_M) == len(self.effects_N)


def ablate_sample(
    model: LanguageModel,
    autoencoder: SparseAutoencoder,
    attribution: Attribution,
    contributions: Contributions,
    *,
    most: int,
    top: int = 0,
    seed: int = 0,
    positions_at_once: int | None = None,
) -> Generator[Ablated]:
    """Ablate all contributions, or a random sample of ``most`` where there are more; and the first ``top`` anyway.

    Gives what is known before the first ablation, and again whenever more of them were made, the largest attributions
    first. ``positions_at_once``: at most so many at a time, but one contribution at least.
    """
    n, device = len(contributions), contributions.features_N.device
    compared_M = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:most].sort().values.to(device)
    chosen_M = torch.cat([compared_M, torch.arange(min(top, n), device=device)]).unique()
    effects_N = torch.full((n,), torch.nan, device=device)
    yield Ablated(effects_N, compared_M)
    done = 0
    for effects_M in _effects(model, autoencoder, attribution, contributions, chosen_M, positions_at_once):
        effects_N = effects_N.clone()
        effects_N[chosen_M[done : done + len(effects_M)]] = effects_M
        done += len(effects_M)
        yield Ablated(effects_N, compared_M)
