"""One row of numbers a text: its strongest activation of each feature, and its mean raw activation.

S texts, T positions, D width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semascope import progress
from semascope.activations import OutlierFilter
from semascope.models import LanguageModel
from semascope.records import Site
from semascope.sae import SparseAutoencoder

TEXTS_AT_ONCE = 16


def pool_texts(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    texts: Sequence[Sequence[int]],
    *,
    recent_medians: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run token sequences of any lengths; outliers are left out, as in training.

    Returns:
        The maximum over each text's tokens of each feature's activation [S, F], and the mean of the raw activations
        [S, D].
    """
    maxima_SF = torch.zeros(len(texts), autoencoder.features)
    means_SD = torch.zeros(len(texts), autoencoder.width)
    outliers = OutlierFilter() if recent_medians is None else OutlierFilter(recent_medians)
    # Texts of like length share a batch. Padding on the right cannot reach earlier tokens through causal attention.
    order = sorted(range(len(texts)), key=lambda s: len(texts[s]))
    with progress.task("Read labelled texts", total=sum(map(len, texts)), unit="tokens") as shown:
        for start in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[start : start + TEXTS_AT_ONCE]
            lengths_B = torch.tensor([len(texts[s]) for s in chosen])
            length = int(lengths_B.max())
            tokens_BT = torch.tensor([list(texts[s]) + [texts[s][-1]] * (length - len(texts[s])) for s in chosen])
            x_BTD = model.activations(tokens_BT.to(model.device), site).float()
            keep_BT = outliers.keep(x_BTD).cpu() & (torch.arange(length) < lengths_B[:, None])
            rows_N = keep_BT.nonzero()[:, 0]
            x_ND = x_BTD[keep_BT.to(x_BTD.device)]
            codes = autoencoder.encode(x_ND)
            texts_K = torch.tensor(chosen)[rows_N][codes.row_ids().cpu()]
            flat_K = texts_K * autoencoder.features + codes.feature_ids.cpu()
            maxima_SF.view(-1).scatter_reduce_(0, flat_K, codes.values.float().cpu(), "amax")
            counts_B = keep_BT.sum(dim=1).clamp_min(1)
            sums_BD = torch.zeros(len(chosen), x_ND.shape[1]).index_add_(0, rows_N, x_ND.cpu())
            means_SD[chosen] = sums_BD / counts_B[:, None]
            shown.advance(int(lengths_B.sum()))
    return maxima_SF, means_SD
