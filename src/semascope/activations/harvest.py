"""From tokens to activations: run the model to the sites, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from semascope.activations.outliers import OutlierFilter
from semascope.errors import NumericalError
from semascope.models import LanguageModel
from semascope.records import ActivationBatch, Site, TokenBatch
from semascope.team import ALONE, Team


def harvest(
    model: LanguageModel, sites: Sequence[Site], windows: Iterable[TokenBatch], outliers: OutlierFilter,
    team: Team = ALONE,
) -> Iterator[tuple[TokenBatch, ActivationBatch]]:  # fmt: skip
    """Yield, for each batch of windows, its tokens' raw activations, the sites side by side, without the outliers.

    Each batch is one pass over the model, to the last of the sites; the processes of a ``team`` take turns, and all see
    every batch. Raises NumericalError when activations are zero or not finite.
    """

    def activations(batch: TokenBatch) -> dict[Site, torch.Tensor]:
        return model.activations_at(batch.tokens_BT.to(model.device), sites)

    for batch, at_sites in team.compute_each(windows, activations):
        keep_BT = outliers.keep(*(at_sites[site] for site in sites))
        values_ND: list[torch.Tensor] = []
        for site in sites:
            values_ND.append(at_sites[site][keep_BT])
            if not values_ND[-1].any() or not torch.isfinite(values_ND[-1]).all():
                fault = "all zero" if torch.isfinite(at_sites[site]).all() else "not all finite"
                raise NumericalError(
                    f"the activations of {model.name} at {site} are {fault}: a dictionary cannot be learned from them; "
                    "try another site, or a wider type (--dtype float32)"
                )
        rows, positions = keep_BT.nonzero().cpu().unbind(dim=1)
        side_by_side_ND = values_ND[0] if len(sites) == 1 else torch.cat(values_ND, dim=1)
        tokens_N = batch.tokens_BT[rows, positions]
        yield batch, ActivationBatch(side_by_side_ND, tokens_N, batch.first_window + rows, positions)
