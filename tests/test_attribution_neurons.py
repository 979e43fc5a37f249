"""Features against neurons: the sums by hand, a feature that is a neuron, and features too rare to tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semascope.attribution import NeuronMatches, match_neurons
from semascope.attribution.neurons import preceding_layers
from semascope.errors import DataError, InputError, MismatchError
from semascope.models import LanguageModel, load_model
from semascope.records import Site, TokenBatch
from semascope.sae import SparseAutoencoder, TopKConfig, build

NEURONS, FEATURES, SITE = 64, 40, Site(1)


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_model("tiny", device="cpu", precision="full")


@pytest.fixture(scope="module")
def windows() -> list[TokenBatch]:
    tokens_WT = torch.randint(0, 257, (60, 16), generator=torch.Generator().manual_seed(0))
    parts = tokens_WT.split(8)
    return [TokenBatch(part, torch.zeros_like(part), 8 * number) for number, part in enumerate(parts)]


def dictionary(width: int = 32, k: int = 6) -> SparseAutoencoder:
    made = build(TopKConfig(k=k), width=width, features=FEATURES)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def test_the_best_neuron_by_hand(
    tiny: LanguageModel, windows: list[TokenBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semascope.attribution.neurons.TOKENS_AT_ONCE", 300)  # two batches and a half
    monkeypatch.setattr("semascope.attribution.neurons.NUMBERS_AT_ONCE", 7 * NEURONS)
    sae = dictionary()
    with torch.no_grad():
        sae.b_enc_F[5] = -1e3  # a dead one
    found = match_neurons(tiny, SITE, sae, windows)

    tokens_WT = torch.cat([batch.tokens_BT for batch in windows])
    sites = [SITE, Site(0, "neurons"), Site(1, "neurons")]
    x_ND, *neurons_NM = (read[:, 1:].flatten(0, 1) for read in tiny.activations_at(tokens_WT, sites).values())
    codes_NF = sae.encode(x_ND).to_dense()
    together = torch.cat([codes_NF, *neurons_NM], dim=1).double().numpy()
    active_F = (codes_NF > 0).sum(dim=0)
    assert found.tokens == len(x_ND) == 60 * 15
    assert (found.layers, found.neurons) == ((0, 1), 2 * NEURONS)
    assert torch.equal(found.active_F, active_F)
    compared = (active_F >= 10).nonzero()[:, 0].tolist()
    assert 5 not in compared
    assert found.compared_F.nonzero()[:, 0].tolist() == compared
    with np.errstate(all="ignore"):
        r_FM = np.corrcoef(together, rowvar=False)[:FEATURES, FEATURES:]
    for feature in compared:
        best = int(r_FM[feature].argmax())
        assert found.correlations_F[feature].item() == pytest.approx(r_FM[feature, best], abs=1e-5)
        assert found.lowest_F[feature].item() == pytest.approx(r_FM[feature].min(), abs=1e-5)
        assert (int(found.layers_F[feature]), int(found.neurons_F[feature])) == divmod(best, NEURONS)

    by_layers = match_neurons(tiny, SITE, sae, windows, memory=1)
    torch.testing.assert_close(by_layers.correlations_F, found.correlations_F, equal_nan=True)
    assert torch.equal(by_layers.neurons_F, found.neurons_F)
    assert by_layers.tokens == found.tokens


def test_a_feature_that_is_a_neuron_correlates_with_it_at_1(tiny: LanguageModel, windows: list[TokenBatch]) -> None:
    site = Site(2, "neurons")
    sae = build(TopKConfig(k=3), width=NEURONS, features=3)
    with torch.no_grad():
        # Always on, far above zero, and moving with neurons 11 and 40; the third moves against neuron 7.
        sae.b_enc_F.fill_(100.0)
        sae.W_enc_FD[0, 11], sae.W_enc_FD[1, 40], sae.W_enc_FD[2, 7] = 1.0, 2.5, -1.0
    found = match_neurons(tiny, site, sae, windows)
    torch.testing.assert_close(found.correlations_F[:2], torch.ones(2), atol=1e-4, rtol=0)
    assert found.layers_F[:2].tolist() == [2, 2]
    assert found.neurons_F[:2].tolist() == [11, 40]
    assert found.lowest_F[2].item() == pytest.approx(-1, abs=1e-4)


def matches(correlations: list[float]) -> NeuronMatches:
    found_F = torch.tensor(correlations)
    ids_F = torch.arange(len(found_F))
    return NeuronMatches(found_F, ids_F % 2, ids_F, -found_F, ids_F, tokens=500, layers=(0, 1), neurons=9)


def test_the_share_and_its_interval() -> None:
    found = matches([0.1, 0.3, 0.2, 0.9, float("nan"), 0.25])
    share, (low, high) = found.share_at_most()
    assert share == pytest.approx(4 / 5)
    assert (low, high) == pytest.approx((0.3755, 0.9638), abs=1e-3)  # Wilson's for 4 of 5
    plain = found.as_json(bins=10)
    assert plain["compared"] == 5
    assert plain["histogram"] == [0, 1, 2, 1, 0, 0, 0, 0, 0, 1]
    assert plain["best_neuron_in_layer"] == {"0": 2, "1": 3}
    most, least = plain["most_like_a_neuron"], plain["least_like_a_neuron"]
    assert isinstance(most, list)
    assert isinstance(least, list)
    assert (most[0]["feature"], least[0]["feature"]) == (3, 0)
    with pytest.raises(DataError, match="no feature fired on 10 of 500 tokens"):
        matches([float("nan")]).share_at_most()


def test_what_precedes_a_site() -> None:
    assert list(preceding_layers(Site(2))) == [0, 1, 2]
    assert list(preceding_layers(Site(2, "mlp_in"))) == [0, 1]
    with pytest.raises(InputError, match=r"no MLP precedes resid_pre\.0"):
        preceding_layers(Site(0, "resid_pre"))


def test_text_and_dictionary_must_fit(tiny: LanguageModel, windows: list[TokenBatch]) -> None:
    with pytest.raises(DataError, match="no text"):
        match_neurons(tiny, SITE, dictionary(), [])
    with pytest.raises(MismatchError, match="width 31"):
        match_neurons(tiny, SITE, dictionary(width=31), windows)
