"""Finding features by texts, by a direction and by prompts: a planted one is found, and chance finds nothing."""

import random

import pytest
import torch
from digits import documents, reader

from semascope.concepts import find_by_prompts, find_by_texts
from semascope.errors import DataError, ModelError
from semascope.features import nearest
from semascope.records import Document


def test_labelled_texts_rank_a_planted_feature_first_beside_probe_and_chance() -> None:
    found = find_by_texts(reader(), documents(), "digits", top=5)
    first, *others = found.features
    assert (first.feature, first.exists) == (7, True)
    assert first.interval[0] <= first.auc <= first.interval[1]
    assert first.p_value < 0.001
    assert len(others) == 4
    assert all(one.chosen_by <= first.chosen_by and not one.exists for one in others)
    assert found.probe_auc > 0.9
    assert abs(found.random_feature_auc - 0.5) < 0.25
    assert (found.positives, found.negatives, found.features_tried) == (30, 30, 20)


def test_the_ranking_is_on_texts_that_do_not_score() -> None:
    labels = [document.labels for document in documents()]
    random.Random(1).shuffle(labels)
    shuffled = [Document(d.text, d.source, given) for d, given in zip(documents(), labels, strict=True)]
    found = find_by_texts(reader(), shuffled, "digits", top=20)
    assert found.features[0].chosen_by > 0.55  # the best of twenty by luck
    assert not any(one.exists for one in found.features)


def test_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match="30 texts with 'digits' and 3 without, and at least 8 of each"):
        find_by_texts(reader(), [d for d in documents() if "digits" in d.labels] + documents()[:6:2], "digits")


def test_the_direction_between_the_means_has_the_planted_feature_as_its_neighbour() -> None:
    # Where the planted feature reads: the only direction that tells digits from letters.
    directions = reader().autoencoder.W_enc_FD.detach()
    found = find_by_texts(reader(), documents(), "digits", top=3, directions_FD=directions)
    assert found.features[0].feature == 7
    assert found.features[0].chosen_by == max(one.chosen_by for one in found.features)
    assert found.features[0].chosen_by <= 1


def test_prompts_find_what_fires_on_all_of_them_and_not_on_the_others() -> None:
    maxima = torch.ones(20)
    [*found] = find_by_prompts(reader(), ["ab 12", "cd 34"], ["ab cd  "], maxima)
    assert [one.feature for one in found] == [7]
    assert found[0].strength == pytest.approx(0.99, abs=0.02)
    assert found[0].token in "12"
    assert found[0].elsewhere == pytest.approx(0, abs=0.02)
    # Of the letters, features 0 and 11 both stand for "a", which is in the other prompt too.
    assert {one.feature for one in find_by_prompts(reader(), ["xa 12"], [], maxima)} >= {7, 0, 11}
    assert find_by_prompts(reader(), ["xa"], ["xa"], maxima) == []


def test_a_feature_that_is_stronger_than_in_the_index_counts_as_one() -> None:
    [first, *_] = find_by_prompts(reader(), ["a12"], [], torch.full((20,), 0.1))
    assert first.strength == 1


def test_prompts_that_cannot_be_read_are_named() -> None:
    with pytest.raises(DataError, match="'x' has no token that the dictionary reads"):
        find_by_prompts(reader(), ["x"], [], torch.ones(20))
    with pytest.raises(ModelError):
        find_by_prompts(reader(), ["x" * 500], [], torch.ones(20))


def test_nearest_directions_by_cosine() -> None:
    directions = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-1.0, 0.0]])
    assert [feature for feature, _ in nearest(directions, directions[0], 3)] == [0, 2, 1]
    assert nearest(directions, torch.tensor([5.0, 0.0]), 2)[1][1] == pytest.approx(0.5**0.5)
