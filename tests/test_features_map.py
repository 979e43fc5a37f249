"""The map: like directions lie together, and regions are named by what their features fire on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from semascope.errors import DamagedError, MismatchError
from semascope.features import FeatureIndex
from semascope.features.build import IndexBuilder
from semascope.features.layout import lay_out
from semascope.features.map import FeatureMap, make_map
from semascope.features.regions import divide, name_regions
from semascope.records import Codes, TokenBatch

GROUPS = ("river", "tree", "stone", "cloud")
PER_GROUP = 12


def directions(width: int = 16) -> Tensor:
    """Four groups of directions; those of a group differ a little."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[: len(GROUPS)]
    return centres.repeat_interleave(PER_GROUP, 0) + 0.1 * torch.randn(
        len(GROUPS) * PER_GROUP, width, generator=generator
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FeatureIndex:
    """Each feature fires on the word of its group and on a word that all share; feature 5 is dead."""
    n_features = len(GROUPS) * PER_GROUP
    dense_NF = torch.zeros(5, n_features)
    for feature in range(n_features):
        dense_NF[feature // PER_GROUP, feature] = 2
        dense_NF[4, feature] = 1
    dense_NF[:, 5] = 0
    places = torch.arange(5)
    path = tmp_path_factory.mktemp("map") / "features"
    with IndexBuilder(path, n_features=n_features) as builder:
        builder.add_windows(TokenBatch(places[None], torch.zeros(1, 5, dtype=torch.long), 0))
        builder.add(Codes.from_dense(dense_NF), places, torch.zeros(5, dtype=torch.long), places)
        words = [f" {word}" for word in (*GROUPS, "all")]
        builder.finish(directions(), promoted=None, token_text=words.__getitem__, provenance={})
    return FeatureIndex.open(path)


def test_like_directions_lie_together_and_regions_have_names(index: FeatureIndex) -> None:
    assert not FeatureMap.exists(index)
    with pytest.raises(DamagedError, match="--map"):
        FeatureMap.read(index)
    made = make_map(index, directions(), seed=3)
    assert FeatureMap.exists(index)
    assert 5 not in made.features_n
    assert len(made.features_n) == len(GROUPS) * PER_GROUP - 1
    assert np.abs(made.positions_n2).max() == pytest.approx(1)
    groups_n = made.features_n // PER_GROUP
    distances_nn = np.linalg.norm(made.positions_n2[:, None] - made.positions_n2[None], axis=2)
    np.fill_diagonal(distances_nn, np.inf)
    assert (groups_n[distances_nn.argmin(1)] == groups_n).mean() > 0.95
    assert {region.name.split(", ")[0] for region in made.regions} == set(GROUPS)
    for level in {region.level for region in made.regions}:
        assert sum(region.n_features for region in made.regions if region.level == level) == len(made.features_n)
    again = make_map(index, directions(), seed=3)
    assert np.array_equal(again.positions_n2, made.positions_n2)
    assert again.regions == made.regions
    FeatureIndex.open(index.folder).close()  # which is whole with a map beside it


def test_of_too_many_features_a_sample_is_shown(index: FeatureIndex) -> None:
    made = make_map(index, directions(), most_features=10)
    assert len(made.features_n) == 10
    assert 5 not in made.features_n
    with pytest.raises(MismatchError, match="decoder of 3 features"):
        make_map(index, torch.ones(3, 16))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_directions_have_places(n: int) -> None:
    positions_n2 = lay_out(torch.eye(6)[:n], seed=0)
    assert positions_n2.shape == (n, 2)
    assert len(np.unique(positions_n2.round(4), axis=0)) == n


def test_regions_are_nested_and_named_by_what_others_lack() -> None:
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, (400, 2)).astype(np.float32)
    positions_n2 = corners.repeat(100, 0) + noise
    levels = divide(positions_n2, seed=0)
    for coarse, fine in pairwise(levels):
        assert all(len(np.unique(coarse[fine == region])) == 1 for region in np.unique(fine))
    assert len(np.unique(levels[0])) == 8
    texts = {0: " the", 1: "Red", 2: " green", 3: "blue", 4: "pink", 9: " ,"}
    tokens = [[0, 9, 1 + corner] for corner in range(4) for _ in range(100)]
    regions = name_regions(positions_n2, levels, tokens, [[0.5, 0.3, 0.2]] * 400, texts)
    for region in regions:
        corner = 2 * (region.x > 0) + (region.y > 0)
        assert region.name == ("red", "green", "blue", "pink")[corner]
