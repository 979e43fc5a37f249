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
        _check(values_ND, site, model.name)
        rows, positions = keep_BT.nonzero(as_tuple=True)
        yield batch, ActivationBatch(values_ND, batch.tokens_BT[rows, positions], batch.first_window + rows, positions)


def _check(values_ND: torch.Tensor, site: Site, model: str) -> None:
    largest = values_ND.abs().max().item() if values_ND.numel() else 0.0
    if largest == 0.0 or not torch.isfinite(values_ND).all():
        fault = "all zero" if largest == 0.0 else "not all finite"
        raise NumericalError(
            f"the activations of {model} at {site} are {fault}: a dictionary cannot be learned from them; "
            "try another site, or a wider type (--dtype float32)"
        )
