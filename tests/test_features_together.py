"""Features that fire on the same tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from semascope.errors import InputError
from semascope.features import FeatureIndex, format, together
from semascope.features.build import IndexBuilder
from semascope.records import Codes, TokenBatch


def build(path: Path, dense_NF: Tensor, length: int = 20) -> FeatureIndex:
    n_tokens, n_features = dense_NF.shape
    tokens_BT = torch.arange(n_tokens).reshape(-1, length) % 50
    places = torch.randperm(n_tokens, generator=torch.Generator().manual_seed(0))  # activations come in any order
    with IndexBuilder(path, n_features=n_features) as builder:
        builder.add_windows(TokenBatch(tokens_BT, torch.zeros_like(tokens_BT), 3))
        builder.add(
            Codes.from_dense(dense_NF[places]), tokens_BT.flatten()[places], 3 + places // length, places % length
        )
        builder.finish(torch.eye(n_features), promoted=None, token_text=str, provenance={})
    return FeatureIndex.open(path)


def random_codes(n_tokens: int = 400, n_features: int = 8) -> Tensor:
    """Feature 1 follows feature 0, feature 2 shuns it, 3 is dead, the others have nothing to do with each other."""
    generator = torch.Generator().manual_seed(1)
    dense_NF = torch.rand(n_tokens, n_features, generator=generator)
    dense_NF *= torch.rand(n_tokens, n_features, generator=generator) < torch.logspace(-1.3, -0.3, n_features)
    dense_NF[:, 1] = dense_NF[:, 0] * (torch.rand(n_tokens, generator=generator) < 0.9)
    dense_NF[dense_NF[:, 0] > 0, 2] = 0
    dense_NF[:, 3] = 0
    return dense_NF


@pytest.mark.parametrize("pairs_at_once", [1, 1 << 21])
def test_companions_are_those_of_the_dense_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs_at_once: int
) -> None:
    monkeypatch.setattr(together, "_PAIRS_AT_ONCE", pairs_at_once)
    monkeypatch.setattr(format, "ACTIVATIONS_PER_PART", 200)
    dense_NF = random_codes()
    index = build(tmp_path / "features", dense_NF)
    fires_NF = (dense_NF > 0).numpy().astype(float)
    for feature in range(8):
        expected: dict[int, tuple[int, float, float]] = {}
        for other in range(8):
            n_together = int((fires_NF[:, feature] * fires_NF[:, other]).sum())
            if other != feature and n_together >= 5:
                phi = np.corrcoef(fires_NF[:, feature], fires_NF[:, other])[0, 1]
                lift = n_together / 400 / (fires_NF[:, feature].mean() * fires_NF[:, other].mean())
                if phi > 0:
                    expected[other] = (n_together, lift, phi)
        found = index.together(feature)
        assert [one.feature for one in found] == sorted(expected, key=lambda other: -expected[other][2])
        for one in found:
            assert (one.n_together, one.lift, one.phi) == pytest.approx(expected[one.feature], rel=1e-5)
    assert index.together(0)[0].feature == 1
    assert index.together(3) == []
    with pytest.raises(InputError, match="no feature 8"):
        index.together(8)


def test_of_much_text_a_part_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = build(tmp_path / "exact", random_codes(4000)).together(0)[0]
    monkeypatch.setattr(together, "_TOKENS_OF_A_FEATURE", 100)
    monkeypatch.setattr(together, "_MOST_ACTIVATIONS", 2000)
    estimate = build(tmp_path / "estimate", random_codes(4000)).together(0)[0]
    assert (exact.feature, estimate.feature) == (1, 1)
    assert estimate.n_together != exact.n_together
    assert estimate.n_together == pytest.approx(exact.n_together, rel=0.2)
    assert estimate.phi == pytest.approx(exact.phi, abs=0.15)


def test_few_tokens_together_are_no_company(tmp_path: Path) -> None:
    dense_NF = torch.zeros(100, 2)
    dense_NF[:4] = 1
    assert build(tmp_path / "four", dense_NF).together(0) == []
    dense_NF[4] = 1
    (one,) = build(tmp_path / "five", dense_NF).together(0)
    assert (one.feature, one.n_together, one.lift, one.phi) == (1, 5, 20, pytest.approx(1))


def test_the_number_of_companions_is_bounded(tmp_path: Path) -> None:
    dense_NF = torch.zeros(40, 30)
    dense_NF[:10] = 1
    found = build(tmp_path / "features", dense_NF).together(29)
    assert [one.feature for one in found] == list(range(format.COMPANIONS))
