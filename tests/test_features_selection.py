"""Lists of features: filters, orders, totals, and many features from one reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from semascope.errors import InputError
from semascope.features import FeatureIndex, Filter
from semascope.features.build import IndexBuilder
from semascope.records import Codes, TokenBatch


@pytest.fixture
def index(tmp_path: Path) -> FeatureIndex:
    """Feature f fires on the first f of 10 tokens, with a maximum of 10 − f; feature 0 is dead."""
    dense_NF = torch.zeros(10, 6)
    for feature in range(6):
        dense_NF[:feature, feature] = 10.0 - feature
    places = torch.arange(10)
    with IndexBuilder(tmp_path / "features", n_features=6) as builder:
        builder.add_windows(TokenBatch(places[None], torch.zeros(1, 10, dtype=torch.long), 0))
        builder.add(Codes.from_dense(dense_NF), places, torch.zeros(10, dtype=torch.long), places)
        builder.finish(torch.eye(6), promoted=None, token_text=lambda token: f" word{token}", provenance={})
    return FeatureIndex.open(tmp_path / "features")


def ids(index: FeatureIndex, *arguments: Any, **options: Any) -> list[int]:
    return index.select(*arguments, **options).tolist()


def test_filters_keep_what_passes_all_of_them(index: FeatureIndex) -> None:
    assert ids(index) == [1, 2, 3, 4, 5]
    assert ids(index, Filter(alive=None, max_density=0.2)) == [0, 1, 2]
    assert ids(index, Filter(min_density=0.2, max_density=0.4)) == [2, 3, 4]
    assert ids(index, Filter(among=[5, 0, 3])) == [3, 5]
    assert ids(index, Filter(among=[])) == []
    assert ids(index, Filter(min_density=0.3, among=[5, 1]), sort="-id") == [5]


def test_features_that_match_by_something_else_come_first_in_a_search(index: FeatureIndex) -> None:
    assert ids(index, search="word4", search_in="tokens") == [5]
    assert ids(index, search="word4", search_in="tokens", named=[1, 5]) == [1, 5]
    assert ids(index, search="word4", search_in="tokens", named=[1, 0], sort="maximum") == [5, 1]
    assert ids(index, named=[1]) == [1, 2, 3, 4, 5]


def test_the_first_of_a_search_are_in_their_places(index: FeatureIndex) -> None:
    in_order = ids(index, search="word")
    assert len(in_order) == 5
    for n in range(7):
        found = ids(index, search="word", n_in_order=n)
        assert found[:n] == in_order[:n]
        assert sorted(found) == sorted(in_order)


def test_many_features_come_in_the_order_asked_for(index: FeatureIndex) -> None:
    assert index.of([4, 0, 4]) == [index.statistics(feature) for feature in (4, 0, 4)]
    assert index.of([]) == []
    with pytest.raises(InputError, match="no feature 6"):
        index.of([1, 6])
