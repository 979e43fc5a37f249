"""Specificity: counts by interval of activation that can be checked by hand, and texts from elsewhere."""

import pytest
import torch
from digits import DIGITS, MODEL, documents, reader

from semascope.concepts import Concept, measure_specificity, read_concept
from semascope.errors import DataError
from semascope.evaluation import difference_interval, wilson_interval
from semascope.records import Document


def test_intervals_of_shares_are_those_of_the_literature() -> None:
    # Newcombe (1998), table I and II: 81 of 263; 56/70 against 48/80.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert wilson_interval(0, 0) == (0, 1)


def test_peaks_of_some_features_are_the_columns_of_all() -> None:
    texts = MODEL.tokenizer.encode([one.text for one in documents(20)])
    maxima = reader().pool(texts).maxima_SF
    torch.testing.assert_close(reader().peaks(texts, [7, 3]), maxima[:, [7, 3]])


def test_a_planted_feature_is_specific_and_sensitive() -> None:
    concept = Concept("Digits", "digits", sisters=("letters",))
    more = [Document(f"{one.text} abc", "other") for one in documents(30)[::2]]
    found = measure_specificity(reader(), 7, concept, [*documents(), *more], intervals=4, maximum=1.0)
    assert found.texts == {"concept": 30, "sisters": 30, "neither": 15}
    silent, *bands = found.bands
    assert len(bands) == 4
    for kind, n in found.texts.items():
        assert sum(band.counts[kind] for band in found.bands) == n
    assert silent.counts["concept"] == 0
    assert bands[-1].counts["concept"] == 30
    assert bands[-1].sensitivity == 1
    assert bands[-1].purity == 1
    assert bands[-1].false_alarms == 0
    assert found.against["sisters"].auc > 0.95
    assert found.against["neither"].texts == 15
    falling = [band.false_alarms for band in found.bands]
    assert falling == sorted(falling, reverse=True)


def test_another_feature_is_not() -> None:
    found = measure_specificity(reader(), 3, DIGITS, documents(), intervals=2)
    assert found.against["neither"].auc < 0.5  # it fires on a letter, and texts with digits have fewer of them
    assert found.bands[-1].false_alarms > 0.3


def test_texts_from_elsewhere_are_told_apart_there() -> None:
    away = [Document(one.text.replace("a", "j"), "away", one.labels) for one in documents(40)]
    few = [Document("aaa 123", "few", frozenset({"digits"}))]
    found = measure_specificity(reader(), 7, DIGITS, documents(), elsewhere=[*away, *few])
    assert [(one.source, one.texts) for one in found.elsewhere] == [("away", 20), ("few", 1)]
    assert found.elsewhere[0].fires == 1
    assert found.elsewhere[0].against is not None
    assert found.elsewhere[0].against.auc > 0.95
    assert found.elsewhere[1].against is None


def test_what_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="3 texts about Digits and 30 others"):
        measure_specificity(reader(), 7, DIGITS, [*documents()[1:7:2], *documents()[::2]])
    with pytest.raises(DataError, match="expected SUITE:NAME"):
        read_concept("Cities")
    with pytest.raises(DataError, match="no concept 'towns': it has Famous people"):
        read_concept("things:towns")
    assert read_concept("things:cities")[0].label == "city"
    assert read_concept("things:element")[0].name == "Chemical elements"
