"""How much of the activations, and of the model's predictions, a dictionary keeps.

N tokens, D width, O width of what is reconstructed, B windows, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semascope import progress
from semascope.activations import OutlierFilter, harvest
from semascope.errors import DataError
from semascope.evaluation.bootstrap import interval
from semascope.models import LanguageModel
from semascope.records import Site, TokenBatch
from semascope.sae import SparseAutoencoder

# Logits that are held at once: 32 Mi numbers are 128 MiB in float32, and five tensors of them exist together.
LOGITS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class ReconstructionReport:
    """What ``evaluation/reconstruction.json`` holds. Cross-entropies and KL are in nats a token.

    ``explained_variance`` is about the mean; ``normalized_mse`` is ``Σ‖x − x̂‖² / Σ‖x‖²``. The dictionary's
    reconstruction, or the mean activation, replaces the activations of the tokens that it learns from; the first
    position and massive activations stay as they are. ``ce_recovered`` is the share of the loss that ablation to the
    mean costs which the reconstruction gives back. Intervals are 95 %, by bootstrap over windows.
    """

    explained_variance: float
    explained_variance_interval: tuple[float, float]
    normalized_mse: float
    l0: float
    ce_clean: float
    ce_spliced: float
    ce_mean_ablated: float
    ce_recovered: float
    ce_recovered_interval: tuple[float, float]
    kl: float
    tokens: int
    ce_tokens: int
    left_out_first_position: int
    left_out_massive: int
    features: int
    seed: int

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def evaluate_reconstruction(
    model: LanguageModel,
    site: Site,
    autoencoder: SparseAutoencoder,
    windows: Sequence[TokenBatch],
    *,
    ce_tokens: int,
    output_site: Site | None = None,
    recent_medians: Sequence[Sequence[float]] = (),
    seed: int = 0,
) -> ReconstructionReport:
    """Measure a dictionary (folded, for raw activations) on held-out windows.

    Args:
        windows: text that the dictionary was not trained on.
        ce_tokens: how many of its tokens to run through the whole model, three times each.
        output_site: whose activations a transcoder predicts; None for an autoencoder.
        recent_medians: state of the training's outlier filter, so that the same tokens count as massive.

    Raises DataError when there are no windows.
    """
    if not windows:
        raise DataError("there is no held-out text to evaluate on: give more text, or hold out a larger part")
    sites = [site] if output_site is None else [site, output_site]
    outliers = OutlierFilter(*recent_medians)
    per_window, sum_O = _reconstruct(model, sites, autoencoder, windows, outliers)
    n, active, squared_error, squares = per_window.sum(dim=0).tolist()
    mean_O = sum_O / n
    total_variance = squares - n * mean_O.square().sum().item()
    # About the overall mean, a window's share of the variance is its squares less its part in the mean's.
    variance_U = per_window[:, 3] - per_window[:, 0] * mean_O.square().sum()

    same_outliers = OutlierFilter(*outliers.recent_medians)
    predictions = _predict(model, sites, autoencoder, mean_O.float(), windows, ce_tokens, same_outliers)
    clean, spliced, ablated, kl, predicted = predictions.sum(dim=0).tolist()
    return ReconstructionReport(
        explained_variance=1 - squared_error / total_variance,
        explained_variance_interval=interval(
            lambda sums: 1 - sums[:, 0] / sums[:, 1], torch.stack([per_window[:, 2], variance_U], dim=1), seed=seed
        ),
        normalized_mse=squared_error / squares,
        l0=active / n,
        ce_clean=clean / predicted,
        ce_spliced=spliced / predicted,
        ce_mean_ablated=ablated / predicted,
        ce_recovered=(ablated - spliced) / (ablated - clean),
        ce_recovered_interval=interval(
            lambda sums: (sums[:, 2] - sums[:, 1]) / (sums[:, 2] - sums[:, 0]), predictions, seed=seed
        ),
        kl=kl / predicted,
        tokens=int(n),
        ce_tokens=int(predicted),
        left_out_first_position=outliers.counts.first_position,
        left_out_massive=outliers.counts.massive,
        features=autoencoder.features,
        seed=seed,
    )


def _reconstruct(
    model: LanguageModel,
    sites: Sequence[Site],
    autoencoder: SparseAutoencoder,
    windows: Sequence[TokenBatch],
    outliers: OutlierFilter,
) -> tuple[Tensor, Tensor]:
    """For each window [tokens, active features, squared error, squares], float64; and the sum of targets [O]."""
    rows: list[Tensor] = []
    sum_O = torch.zeros(autoencoder.output_width, dtype=torch.float64)
    total = sum(batch.tokens_BT.numel() for batch in windows)
    with progress.task("Evaluate reconstruction", total=total, unit="tokens") as shown:
        for text, activations in harvest(model, sites, windows, outliers):
            values_ND = activations.values_ND.float()
            # One site, or a transcoder's two side by side.
            x_ND, y_NO = values_ND[:, : autoencoder.width], values_ND[:, -autoencoder.output_width :]
            codes = autoencoder.encode(x_ND)
            active_N = x_ND.new_zeros(len(x_ND)).index_add_(0, codes.row_ids(), (codes.values > 0).float())
            error_N = (y_NO - autoencoder.predict(x_ND, codes)).double().square().sum(dim=1)
            squares_N = y_NO.double().square().sum(dim=1)
            quantities = torch.stack([torch.ones_like(error_N), active_N.double(), error_N, squares_N], dim=1).cpu()
            window_N = activations.windows_N - text.first_window
            rows.append(torch.zeros(len(text.tokens_BT), 4, dtype=torch.float64).index_add_(0, window_N, quantities))
            sum_O += y_NO.double().sum(dim=0).cpu()
            shown.advance(text.tokens_BT.numel())
    return torch.cat(rows), sum_O


def _predict(
    model: LanguageModel,
    sites: Sequence[Site],
    autoencoder: SparseAutoencoder,
    mean_O: Tensor,
    windows: Iterable[TokenBatch],
    ce_tokens: int,
    outliers: OutlierFilter,
) -> Tensor:
    """For each window [CE clean, CE spliced, CE mean-ablated, KL, predicted tokens], summed over its tokens."""
    rows: list[Tensor] = []
    site, output_site = sites[0], sites[-1]
    tokens_WT = torch.cat([batch.tokens_BT for batch in windows])
    windows_at_once = max(1, LOGITS_AT_ONCE // (tokens_WT.shape[1] * model.vocabulary))
    wanted = max(1, ce_tokens // tokens_WT.shape[1])
    chunks = tokens_WT[:wanted].to(model.device).split(windows_at_once)
    with progress.task("Evaluate predictions", total=sum(c.numel() for c in chunks), unit="tokens") as shown:
        for tokens_BT in chunks:
            seen: list[Tensor] = []

            def remember(y_BTO: Tensor, seen: list[Tensor] = seen) -> Tensor:
                seen.append(y_BTO)
                return y_BTO

            log_p_BTV = model.splice(tokens_BT, output_site, remember)[:, :-1].float().log_softmax(dim=-1)
            [y_BTO] = seen
            inputs = [y_BTO] if len(sites) == 1 else [model.activations(tokens_BT, site), y_BTO]
            keep_BT = outliers.keep(*inputs)
            reconstructed_BTO, ablated_BTO = y_BTO.clone(), y_BTO.clone()
            x_ND = inputs[0][keep_BT].float()
            reconstructed_BTO[keep_BT] = autoencoder.predict(x_ND, autoencoder.encode(x_ND)).to(y_BTO.dtype)
            ablated_BTO[keep_BT] = mean_O.to(y_BTO)

            targets_BT = tokens_BT[:, 1:]
            log_q_BTV = _spliced(model, tokens_BT, output_site, reconstructed_BTO)
            kl_B = F.kl_div(log_q_BTV, log_p_BTV, log_target=True, reduction="none").sum(dim=(1, 2))
            clean_B, spliced_B = _cross_entropy(log_p_BTV, targets_BT), _cross_entropy(log_q_BTV, targets_BT)
            del log_p_BTV, log_q_BTV
            log_a_BTV = _spliced(model, tokens_BT, output_site, ablated_BTO)
            ablated_B = _cross_entropy(log_a_BTV, targets_BT)
            predicted_B = torch.full_like(clean_B, targets_BT.shape[1])
            rows.append(torch.stack([clean_B, spliced_B, ablated_B, kl_B, predicted_B], dim=1).double().cpu())
            shown.advance(tokens_BT.numel())
    return torch.cat(rows)


def _spliced(model: LanguageModel, tokens_BT: Tensor, site: Site, instead_BTO: Tensor) -> Tensor:
    """Log-probabilities [B, T - 1, V] of the tokens to follow, with other activations at a site."""
    return model.splice(tokens_BT, site, lambda _: instead_BTO)[:, :-1].float().log_softmax(dim=-1)


def _cross_entropy(log_p_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """[B]: the sum over positions of ``−log p(target)``."""
    return -log_p_BTV.gather(2, targets_BT[..., None]).squeeze(2).sum(dim=1)
