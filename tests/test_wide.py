"""The benchmark of wide dictionaries: what it concludes from how often features fired."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semascope.files import read_json

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from wide import KEPT, Rates, alive, lines  # noqa: E402

FEATURES, TOKENS = 200_000, 16_384


def rates_of_features(shape: float, *, never: float) -> NDArray[np.float64]:
    """Firings a token: gamma-distributed, four on the counted tokens on average, but for a share that never fires."""
    generator = np.random.default_rng(0)
    rates = generator.gamma(shape, 4 / shape, FEATURES) / TOKENS
    rates[: int(never * FEATURES)] = 0
    return rates


def times_fired(rates: NDArray[np.float64], tokens: int) -> NDArray[np.int64]:
    return np.bincount(np.random.default_rng(1).poisson(rates * tokens))


@pytest.mark.parametrize("shape", [0.5, 2.0])
@pytest.mark.parametrize("never", [0.0, 0.03])
def test_features_alive_on_more_tokens_are_foretold(shape: float, never: float) -> None:
    rates = rates_of_features(shape, never=never)
    found = Rates(times_fired(rates, TOKENS), TOKENS)
    for tokens in (TOKENS // 4, TOKENS, 10 * TOKENS, 100 * TOKENS):
        expected = (1 - np.exp(-rates * tokens)).mean()
        assert found.alive(tokens) == pytest.approx(expected, abs=0.015), tokens


def test_a_part_of_the_tokens_wakes_as_many_as_it_did() -> None:
    rates = rates_of_features(1.0, never=0.1)
    whole, quarter = times_fired(rates, TOKENS), times_fired(rates, TOKENS // 4)
    assert alive(whole, 0.25) == pytest.approx(FEATURES - quarter[0], rel=0.01)
    assert alive(whole, 1.0) == FEATURES - whole[0]


def test_the_tables_of_the_documentation_are_those_of_the_measurements() -> None:
    told = (BENCHMARKS.parent / "docs/SCALE.md").read_text(encoding="utf-8")
    for line in lines(read_json(KEPT / "measured.json")["dictionaries"]):
        assert line in told
