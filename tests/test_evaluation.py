"""Evaluation: figures that are known exactly for dictionaries that are known exactly."""

import math

import pytest
import torch

from semascope.activations import OutlierFilter, harvest
from semascope.errors import DataError
from semascope.evaluation import evaluate_reconstruction, interval
from semascope.models import load_model
from semascope.records import Document, Site, TokenBatch
from semascope.sae import L1Config, SparseAutoencoder, TopKConfig, build
from semascope.text import pack

MODEL, SITE, WIDTH = load_model("tiny", precision="full"), Site(1), 32


def windows() -> list[TokenBatch]:
    generator = torch.Generator().manual_seed(0)
    texts = ["".join(chr(97 + int(c)) for c in torch.randint(26, (90,), generator=generator)) for _ in range(24)]
    documents = [Document(text, "test") for text in texts]
    return list(pack(documents, MODEL.tokenizer, context_tokens=24, windows_per_batch=8))


def perfect() -> SparseAutoencoder:
    """Two features a dimension, one for each sign: reconstructs everything with L0 = width."""
    autoencoder = build(L1Config(), width=WIDTH, features=2 * WIDTH)
    with torch.no_grad():
        autoencoder.W_enc_FD.copy_(torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)]))
        autoencoder.W_dec_FO.copy_(autoencoder.W_enc_FD)
    return autoencoder


def mean_only() -> SparseAutoencoder:
    """Reconstructs every activation as the mean of the evaluated ones."""
    values = torch.cat([a.values_ND for _, a in harvest(MODEL, [SITE], windows(), OutlierFilter())])
    autoencoder = build(TopKConfig(k=1), width=WIDTH, features=4)
    with torch.no_grad():
        autoencoder.b_dec_O.copy_(values.mean(dim=0))
    return autoencoder


def test_a_perfect_dictionary_loses_nothing() -> None:
    report = evaluate_reconstruction(MODEL, SITE, perfect(), windows(), ce_tokens=10**6)
    assert report.explained_variance == pytest.approx(1.0, abs=1e-5)
    assert report.normalized_mse == pytest.approx(0.0, abs=1e-5)
    assert report.l0 == pytest.approx(WIDTH, abs=0.01)
    assert report.ce_spliced == pytest.approx(report.ce_clean, abs=1e-4)
    assert report.ce_recovered == pytest.approx(1.0, abs=1e-2)
    assert report.kl == pytest.approx(0.0, abs=1e-4)
    assert report.features == 2 * WIDTH


def test_a_dictionary_that_knows_only_the_mean_explains_nothing_and_recovers_nothing() -> None:
    report = evaluate_reconstruction(MODEL, SITE, mean_only(), windows(), ce_tokens=10**6)
    assert report.explained_variance == pytest.approx(0.0, abs=1e-5)
    assert report.l0 == 0.0
    assert report.ce_spliced == pytest.approx(report.ce_mean_ablated, abs=1e-5)
    assert report.ce_recovered == pytest.approx(0.0, abs=1e-3)
    # Normalised MSE is about zero, not the mean: less than 1 for activations with a mean.
    assert 0.1 < report.normalized_mse < 1.0


def test_figures_equal_those_computed_by_hand() -> None:
    autoencoder = perfect()
    with torch.no_grad():
        autoencoder.W_dec_FO.mul_(0.7)
    batches = windows()
    report = evaluate_reconstruction(MODEL, SITE, autoencoder, batches, ce_tokens=10**6)
    values = torch.cat([a.values_ND for _, a in harvest(MODEL, [SITE], batches, OutlierFilter())]).double()
    variance = (values - values.mean(dim=0)).square().sum()
    assert report.explained_variance == pytest.approx(1 - (0.09 * values.square().sum() / variance).item(), abs=1e-4)
    assert report.normalized_mse == pytest.approx(0.09, abs=1e-4)
    low, high = report.explained_variance_interval
    assert low < report.explained_variance < high

    tokens = torch.cat([batch.tokens_BT for batch in batches])
    log_p = MODEL.logits(tokens)[:, :-1].log_softmax(-1)
    clean = -log_p.gather(2, tokens[:, 1:, None]).mean().item()
    assert report.ce_clean == pytest.approx(clean, abs=1e-5)

    def shrink(x: torch.Tensor) -> torch.Tensor:
        kept = OutlierFilter().keep(x)
        return torch.where(kept[..., None], 0.7 * x, x)

    log_q = MODEL.splice(tokens, SITE, shrink)[:, :-1].log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
    assert report.kl == pytest.approx(kl, abs=1e-3)


def test_counts_and_limits() -> None:
    batches = windows()
    n_windows = sum(len(batch.tokens_BT) for batch in batches)
    report = evaluate_reconstruction(MODEL, SITE, perfect(), batches, ce_tokens=10 * 24)
    assert report.ce_tokens == 10 * 23
    assert report.left_out_first_position == n_windows
    assert report.tokens == n_windows * 23 - report.left_out_massive


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (evaluate_reconstruction(MODEL, SITE, perfect(), windows(), ce_tokens=200) for _ in range(2))
    assert first == second


def test_no_held_out_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no held-out text"):
        evaluate_reconstruction(MODEL, SITE, perfect(), [], ce_tokens=100)


def test_the_bootstrap_interval_of_a_mean_is_that_of_theory() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)) + 2
    units = torch.stack([values, torch.ones(400)], dim=1)
    low, high = interval(lambda sums: sums[:, 0] / sums[:, 1], units, seed=0, resamples=4000)
    error = 1.96 * values.std().item() / math.sqrt(400)
    assert low == pytest.approx(values.mean().item() - error, abs=0.02)
    assert high == pytest.approx(values.mean().item() + error, abs=0.02)
