"""Two corpora compared: features that fire more in the texts of one than in those of the other.

Texts are the units, not tokens, which depend on each other. A text counts for a feature when the feature fires on a
larger share of its tokens than in the median text of both corpora together (or as large a one, where that divides the
texts more evenly); for most features, which fire in less than half of the texts, that is when it fires at all (Mood's
median test). The counts are compared by Fisher's exact test, two-sided, and its p-values are corrected by the method of
Benjamini and Hochberg (1995) for all features tested.

S texts of both corpora, K pairs of a text and a feature that fires in it, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semascope import progress
from semascope.concepts.reading import TextReader
from semascope.errors import DataError
from semascope.evaluation import difference_interval
from semascope.records import Document
from semascope.text import one_window_each

FEWEST_TEXTS = 5
"""In how many texts a feature must count to be tested: with fewer no test could find anything."""

LEAST_TEXTS = 8


@dataclass(frozen=True)
class Difference:
    """A feature and the shares of the texts of each corpus that count for it.

    ``difference`` of the shares, the first less the second, with its 95 % ``interval`` (Newcombe); ``p_value`` by
    itself, ``q_value`` corrected. ``rate_above``: on what share of a text's tokens it has to fire for the
    text to count.
    """

    feature: int
    share: float
    other_share: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    q_value: float
    rate_above: float


@dataclass(frozen=True)
class TextComparison:
    """Features that differ at a false discovery rate of ``level``, the largest difference first."""

    texts: int
    other_texts: int
    tokens: float
    other_tokens: float
    tested: int
    level: float
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def compare_texts(
    reader: TextReader,
    one: Sequence[Document],
    other: Sequence[Document],
    *,
    context_tokens: int = 64,
    level: float = 0.05,
) -> TextComparison:
    """Compare the texts of two corpora, cut to ``context_tokens``. Raises DataError with fewer than 8 of either."""
    if min(len(one), len(other)) < LEAST_TEXTS:
        raise DataError(
            f"there are {len(one)} and {len(other)} texts, and at least {LEAST_TEXTS} of each corpus are needed: texts "
            "are the units that are compared"
        )
    windows = one_window_each([*one, *other], reader.model.tokenizer, context_tokens=context_tokens)
    sequences = [ids for _, ids in windows]
    texts_K, features_K, rates_K = _rates(reader, sequences)
    above_K, thresholds_F = _above_the_median(features_K, rates_K, len(sequences), reader.autoencoder.features)
    n, m, F = len(one), len(other), reader.autoencoder.features
    first_K = texts_K < n
    counts_F = np.bincount(features_K[above_K & first_K], minlength=F)
    other_F = np.bincount(features_K[above_K & ~first_K], minlength=F)
    tested = np.flatnonzero(counts_F + other_F >= FEWEST_TEXTS)
    p = _fisher(counts_F[tested], other_F[tested], n, m)
    q = benjamini_hochberg(p)

    def difference(i: int) -> Difference:
        feature = int(tested[i])
        a, b = int(counts_F[feature]), int(other_F[feature])
        return Difference(
            feature, a / n, b / m, a / n - b / m, difference_interval(a, n, b, m),
            float(p[i]), float(q[i]), float(thresholds_F[feature]),
        )  # fmt: skip

    found = sorted(map(difference, np.flatnonzero(q <= level).tolist()), key=lambda d: (-abs(d.difference), d.p_value))
    lengths = np.array([len(ids) for ids in sequences], np.float64)
    return TextComparison(n, m, lengths[:n].mean(), lengths[n:].mean(), len(tested), level, tuple(found))


def _rates(reader: TextReader, sequences: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], ...]:
    """For each text and each feature that fires in it: on what share of the text's tokens."""
    F = reader.autoencoder.features
    parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    with progress.task("Read texts", total=sum(map(len, sequences)), unit="tokens") as shown:
        for read in reader.read(sequences):
            texts_K = read.texts_N[read.codes.row_ids().cpu()]
            fires_K = read.codes.values.cpu() > 0
            keys, counts = (texts_K * F + read.codes.feature_ids.cpu())[fires_K].unique(return_counts=True)
            tokens_S = read.texts_N.bincount(minlength=len(sequences))
            parts.append(((keys // F).int(), (keys % F).int(), counts / tokens_S[keys // F]))
            shown.advance(read.tokens)
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def _above_the_median(
    features_K: NDArray[np.int64], rates_K: NDArray[np.int64], texts: int, features: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which pairs count, as above the median over all texts of their feature; and these medians [F], 0 for most."""
    order_K = np.lexsort((rates_K, features_K))
    sorted_rates_K = rates_K[order_K]
    ends_F = np.cumsum(np.bincount(features_K, minlength=features))
    starts_F = np.concatenate([[0], ends_F[:-1]])
    # The texts in which it does not fire come first, with a rate of 0.
    median_F = ends_F - (texts - texts // 2)
    inside_F = median_F >= starts_F
    thresholds_F = np.where(inside_F, sorted_rates_K[np.where(inside_F, median_F, 0)], 0.0)
    above_K, equal_K = rates_K > thresholds_F[features_K], rates_K == thresholds_F[features_K]
    n_above_F, n_equal_F = (np.bincount(features_K[these_K], minlength=features) for these_K in (above_K, equal_K))
    with_equal_F = np.abs(2 * (n_above_F + n_equal_F) - texts) < np.abs(2 * n_above_F - texts)
    return above_K | (equal_K & with_equal_F[features_K]), thresholds_F


def _fisher(a: NDArray[np.int64], b: NDArray[np.int64], n: int, m: int) -> NDArray[np.float64]:
    """Two-sided p-values of a of n against b of m: twice the smaller tail, at most 1."""
    from scipy.stats import hypergeom  # a second to import, and other commands do not need it

    at_most = hypergeom.cdf(a, n + m, a + b, n)
    at_least = hypergeom.sf(a - 1, n + m, a + b, n)
    return np.minimum(1.0, 2 * np.minimum(at_most, at_least))


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest false discovery rate at which each test would be kept."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q
