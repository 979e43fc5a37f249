"""From tokens to activations: run the model to the site, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from semascope.activations.outliers import OutlierFilter
from semascope.errors import NumericalError
from semascope.models import LanguageModel
from semascope.records import ActivationBatch, Site, TokenBatch


def harvest(
    model: LanguageModel, site: Site, windows: Iterable[TokenBatch], outliers: OutlierFilter
) -> Iterator[tuple[TokenBatch, ActivationBatch]]:
    """Yield, for each batch of windows, the raw activations of its tokens without the outliers.

    Raises NumericalError when activations are zero or not finite.
    """
    for batch in windows:
        activations_BTD = model.activations(batch.tokens_BT.to(model.device), site)
        keep_BT = outliers.keep(activations_BTD)
        values_ND = activations_BTD[keep_BT]
        if not values_ND.any() or not torch.isfinite(values_ND).all():
            fault = "all zero" if torch.isfinite(activations_BTD).all() else "not all finite"
            raise NumericalError(
                f"the activations of {model.name} at {site} are {fault}: a dictionary cannot be learned from them; "
                "try another site, or a wider type (--dtype float32)"
            )
        rows, positions = keep_BT.nonzero().cpu().unbind(dim=1)
        yield batch, ActivationBatch(values_ND, batch.tokens_BT[rows, positions], batch.first_window + rows, positions)
