"""Two corpora compared: a planted difference is found, none where there is none, and the tests are the textbook's."""

import random

import numpy as np
import pytest
from digits import documents, reader
from scipy.stats import fisher_exact

from semascope.concepts import compare_texts
from semascope.concepts.comparing import (
    _above_the_median,  # pyright: ignore[reportPrivateUsage]
    _fisher,  # pyright: ignore[reportPrivateUsage]
    benjamini_hochberg,
)
from semascope.errors import DataError
from semascope.records import Document


def test_a_planted_difference_comes_first_with_its_interval() -> None:
    texts = documents(80)
    found = compare_texts(reader(), texts[1::2], texts[::2])
    first = found.differences[0]
    assert first.feature == 7
    assert (first.share, first.other_share) == (1, 0)
    assert first.interval[0] < first.difference <= first.interval[1] <= 1
    assert first.p_value <= first.q_value < 1e-9
    exchanged = compare_texts(reader(), texts[::2], texts[1::2])
    assert exchanged.differences[0].difference == -1
    assert (found.texts, found.other_texts, found.tokens) == (40, 40, 30)


def test_between_halves_of_the_same_texts_there_is_no_difference() -> None:
    texts = documents(120)
    random.Random(3).shuffle(texts)
    found = compare_texts(reader(), texts[:60], texts[60:])
    assert found.tested >= 10
    assert found.differences == ()


def test_a_feature_that_fires_everywhere_is_compared_by_how_often() -> None:
    # The letter a (features 0 and 11) is in all texts, in some of them more often.
    few, many = ["abcdefghij" * 3 for _ in range(40)], ["aabbaacdaa" * 3 for _ in range(40)]
    found = compare_texts(
        reader(),
        [Document(text + "x" * i, "many") for i, text in enumerate(many)],
        [Document(text + "x" * i, "few") for i, text in enumerate(few)],
    )
    of_a = [one for one in found.differences if one.feature in (0, 11)]
    assert len(of_a) == 2
    assert all(one.difference > 0.9 and one.rate_above > 0 for one in of_a)


def test_the_median_counts_texts_in_which_a_feature_is_silent() -> None:
    features, rates = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.5, 0.4])
    above, thresholds = _above_the_median(features, rates, texts=4, features=3)
    # Feature 0: 0, .1, .2, .3 with the upper median .2; feature 1: 0, 0, .4, .5 with .4; feature 2: zeros.
    assert thresholds.tolist() == [0.2, 0.4, 0.0]
    # More than .2 is one text in four, .2 or more are two; more than .4 is one, .4 or more are two.
    assert above.tolist() == [False, True, True, True, True]


def test_p_values_are_fishers_and_corrected_ones_those_of_benjamini_and_hochberg() -> None:
    a, b = np.array([5, 0, 12, 3]), np.array([1, 9, 12, 4])
    p = _fisher(a, b, 20, 25)
    for i in range(4):
        table = [[a[i], 20 - a[i]], [b[i], 25 - b[i]]]
        smaller = min(fisher_exact(table, alternative=side).pvalue for side in ("less", "greater"))
        assert p[i] == pytest.approx(min(1, 2 * smaller))
    q = benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005]))
    assert q.tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match="there are 30 and 7 texts, and at least 8"):
        compare_texts(reader(), documents(30), documents(7))
