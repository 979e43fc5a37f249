"""Completeness: names counted as words, a feature for some of them, and a sigmoid that is known."""

from pathlib import Path

import numpy as np
import pytest
from digits import MODEL, reader

from semascope.concepts import count_names, measure_completeness
from semascope.concepts.completeness import Sigmoid, fit_sigmoid
from semascope.errors import ConfigError, DataError
from semascope.records import Document
from semascope.report import write_completeness_plot


def test_names_are_counted_as_whole_words_in_so_many_tokens() -> None:
    texts = [Document("Tin and tin. Tinfoil, New York, york", "x"), Document("tin", "x"), Document("x tin", "x")]
    counts, tokens = count_names(texts, ["Tin", "York", "New York"], MODEL.tokenizer, 39)
    assert (counts, tokens) == ({"Tin": 3, "York": 1, "New York": 1}, 39)


def test_a_name_with_a_feature_of_its_own_is_present_and_others_are_not() -> None:
    # There are features for digits and for each letter; every letter is in three of the names.
    names = ["1234", "ab", "ac", "ad", "bc", "bd", "cd", "ef", "eg", "eh", "fg", "fh", "gh"]
    found = measure_completeness(reader(), "marks", {name: 9 - i // 2 for i, name in enumerate(names)}, 1000)
    assert [one.name for one in found.names if one.present] == ["1234"]
    assert found.names[0].feature == 7
    assert found.names[0].per_million == 9000
    assert all(0.9 > one.cosine > one.untrained_cosine for one in found.names[:1])
    assert found.share == pytest.approx(1 / 13)
    assert found.fit is None  # One name is no trend.
    with pytest.raises(DataError, match="2 names were given"):
        measure_completeness(reader(), "marks", {"a": 1, "b": 2}, 1000)


def test_the_fit_recovers_a_sigmoid_and_stays_finite_where_all_is_clear() -> None:
    generator = np.random.default_rng(0)
    frequencies = 10 ** generator.uniform(-2, 4, 4000)
    truth = Sigmoid(slope=2.0, middle=1.0)
    present = generator.random(4000) < truth.at(frequencies)
    fit = fit_sigmoid(frequencies, present)
    assert fit is not None
    assert fit.slope == pytest.approx(2, abs=0.15)
    assert fit.middle == pytest.approx(1, abs=0.1)
    clear = fit_sigmoid(np.array([1.0, 2.0, 100.0, 200.0]), np.array([False, False, True, True]))
    assert clear is not None
    assert np.log10(2) < clear.middle < 2
    assert fit_sigmoid(np.array([1.0, 2.0]), np.array([True, True])) is None


def test_there_is_no_curve_where_presence_does_not_rise_with_frequency() -> None:
    frequencies = 10 ** np.random.default_rng(0).uniform(-1, 3, 60)
    by_chance = [fit_sigmoid(frequencies, np.random.default_rng(seed).random(60) < 0.6) for seed in range(100)]
    assert sum(fit is not None for fit in by_chance) <= 6  # a rise is half of what differs by chance
    assert fit_sigmoid(frequencies, frequencies < 5) is None


def test_the_figure_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    names = ["1234", "ab", "bc", "ca", "de", "ef", "fd", "gh"]
    found = measure_completeness(reader(), "marks", {name: 9 - i for i, name in enumerate(names)}, 1000)
    write_completeness_plot(tmp_path / "a.png", [("one", found), ("two", found)])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    write_completeness_plot(tmp_path / "a.svg", [("one", found)])
    assert "20 features" in (tmp_path / "a.svg").read_text() or "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ConfigError, match="no figure"):
        write_completeness_plot(tmp_path / "a.txt", [("one", found)])
