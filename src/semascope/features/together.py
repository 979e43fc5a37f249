"""Features that fire together: for each feature, those that fire on the same tokens more often than chance.

    together.parquet     one row a feature: the others, on how many tokens they fire together, and φ

They are counted while the index is built. A question would otherwise have to read the codes of thousands of tokens
from all over the text, from a second copy of the activations in the order of the text; a row is read in a millisecond,
and the counting costs a few nanoseconds for each pair of activations on a token. Its memory and time are bounded: of a
feature that fires very often some of its tokens are looked at, and of a very long text some of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.features import format
from semascope.features.building import IndexedText, PartOfActivations
from semascope.features.rowgroups import RowGroupWriter

_TOKENS_OF_A_FEATURE = 4_096
_MOST_ACTIVATIONS = 64_000_000
_PAIRS_AT_ONCE = 1 << 21
_FEWEST_TOGETHER = 5  # tokens looked at on which both fire: fewer say little


@dataclass(frozen=True, slots=True)
class Companion:
    """A feature that fires on the same tokens.

    ``n_together`` tokens on which both fire (an estimate of a feature that fires on more than 4,096 tokens). ``lift``:
    how many times more often than if they had nothing to do with each other. ``phi``: the correlation of the two
    firing or not, from -1 to 1.
    """

    feature: int
    n_together: int
    lift: float
    phi: float


@dataclass(frozen=True, slots=True)
class CodesByToken:
    """The features that fire on each token of a text: those of place p at ``offsets_N[p]`` to ``offsets_N[p + 1]``."""

    features_K: NDArray[np.int32]
    offsets_N: NDArray[np.int64]
    every: int  # only the tokens whose place is a multiple of it are held

    @classmethod
    def read(cls, files: list[Path], text: IndexedText, n_activations: int) -> CodesByToken:
        """Turn activations in any order (Parquet files with the columns feature, window, position) over by token.

        Of more than 64 million, those on every second, third … token are kept: 4 bytes each, and 20 more for a moment.
        """
        every = max(1, -(-n_activations // _MOST_ACTIVATIONS))
        features: list[NDArray[np.int32]] = []
        places: list[NDArray[np.int64]] = []
        for file in files:
            with pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(1 << 20, columns=["feature", "window", "position"], use_threads=False):
                    feature, window, position = (column.to_numpy() for column in batch.columns)
                    place = text.places(window, position)
                    kept = place % every == 0
                    features.append(feature[kept])
                    places.append(place[kept])
        places_K, features_K = np.concatenate(places), np.concatenate(features)
        order = np.argsort(places_K, kind="stable")
        offsets = np.concatenate([[0], np.bincount(places_K, minlength=len(text.tokens_N)).cumsum()])
        return cls(features_K[order], offsets, every)

    def sample(self, part: PartOfActivations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Features and places of activations that are looked at, ascending by feature: as many as are bounded.

        Of a feature that fires more often, activations of all strengths.
        """
        features_K = part.features_K.astype(np.int64)
        lengths_F = np.bincount(features_K - part.features.start, minlength=len(part.features))
        steps_F = -(-lengths_F // _TOKENS_OF_A_FEATURE)
        kept = (rank_within(features_K) % np.repeat(steps_F, lengths_F) == 0) & (part.places_K % self.every == 0)
        return features_K[kept], part.places_K[kept]

    def counts(self, features_K: NDArray[np.int64], places_K: NDArray[np.int64], n_features: int) -> Iterator[Counts]:
        """For each of the features in ``features_K``, ascending: on how many of its ``places_K`` others fire.

        ``n_features``: how many others there are.
        """
        lengths_K = self.offsets_N[places_K + 1] - self.offsets_N[places_K]
        starts = np.flatnonzero(np.diff(features_K, prepend=-1))
        bounds = [*starts.tolist(), len(features_K)]
        pairs = np.concatenate([[0], lengths_K.cumsum()])
        first = 0
        while first < len(starts):
            last = first + 1
            while last < len(starts) and pairs[bounds[last + 1]] - pairs[bounds[first]] <= _PAIRS_AT_ONCE:
                last += 1
            entries = slice(bounds[first], bounds[last])
            yield self._counted(features_K[entries], places_K[entries], lengths_K[entries], n_features)
            first = last

    def _counted(
        self,
        features_K: NDArray[np.int64],
        places_K: NDArray[np.int64],
        lengths_K: NDArray[np.int64],
        n_features: int,
    ) -> Counts:
        ends = lengths_K.cumsum()
        within = np.arange(int(ends[-1]), dtype=np.int64) - np.repeat(ends - lengths_K, lengths_K)
        others = self.features_K[np.repeat(self.offsets_N[places_K], lengths_K) + within]
        keys = np.sort(np.repeat(features_K * n_features, lengths_K) + others)
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        return Counts(keys[firsts] // n_features, keys[firsts] % n_features, np.diff(firsts, append=len(keys)))


@dataclass(frozen=True, slots=True)
class Counts:
    """On how many places two features fire, [P pairs] each; ascending by the first, then by the other."""

    features_P: NDArray[np.int64]
    others_P: NDArray[np.int64]
    counts_P: NDArray[np.int64]

    def only(self, which_P: NDArray[np.bool_]) -> Counts:
        """Some of the pairs."""
        return Counts(self.features_P[which_P], self.others_P[which_P], self.counts_P[which_P])

    def of_all(self, looked_at_P: NDArray[np.int64], n_active_F: NDArray[np.int64]) -> NDArray[np.int64]:
        """The counts, which are of ``looked_at_P`` tokens of each feature, as estimates for all its tokens, [P]."""
        return np.rint(self.counts_P / looked_at_P * n_active_F[self.features_P]).astype(np.int64)


class TogetherWriter:
    """Writes together.parquet into ``folder``, given the activations part by part."""

    def __init__(self, folder: Path, codes: CodesByToken, n_active_F: NDArray[np.int64], n_tokens: int) -> None:
        self._codes = codes
        self._n_active_F = n_active_F
        self._n_tokens = n_tokens
        self._writer = RowGroupWriter(
            folder / format.TOGETHER_FILE, format.TOGETHER_SCHEMA, format.FEATURES_PER_ROW_GROUP
        )

    def __enter__(self) -> TogetherWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def add(self, part: PartOfActivations) -> None:
        """Find the companions of some features; parts come in the order of their features."""
        features_K, places_K = self._codes.sample(part)
        looked_at = np.bincount(features_K - part.features.start, minlength=len(part.features))
        kept: list[tuple[NDArray[Any], ...]] = []
        for counts in self._codes.counts(features_K, places_K, len(self._n_active_F)):
            others = counts.only(counts.features_P != counts.others_P)
            kept.append(self._best(others, looked_at[others.features_P - part.features.start]))
        if not kept:  # none of the features fires
            kept.append(self._best(Counts(*np.zeros((3, 0), np.int64)), looked_at[:0]))
        features, others, together, phis = (np.concatenate(column) for column in zip(*kept, strict=True))
        offsets = np.searchsorted(features, np.arange(part.features.start, part.features.stop + 1)).astype(np.int32)
        lists = {"others": others.astype(np.int32), "n_together": together, "phis": phis.astype(np.float32)}
        self._writer.write(
            {"feature": np.arange(part.features.start, part.features.stop, dtype=np.int32)}
            | {name: pa.ListArray.from_arrays(offsets, pa.array(values)) for name, values in lists.items()}
        )

    def _best(self, counts: Counts, looked_at_P: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        n_active_F = self._n_active_F
        return company(counts, looked_at_P, n_active_F, n_active_F, self._n_tokens, most=format.COMPANIONS)


def company(
    counts: Counts,
    looked_at_P: NDArray[np.int64],
    n_active_F: NDArray[np.int64],
    n_active_others: NDArray[np.int64],
    n_tokens: int,
    *,
    most: int,
) -> tuple[NDArray[Any], ...]:
    """For each feature those of the highest φ with it: features, others, n_together, φ; the highest φ first.

    ``looked_at_P``: how many tokens of the feature of each pair the counts are of; they are scaled up to all.
    """
    enough = counts.only(counts.counts_P >= _FEWEST_TOGETHER)
    looked_at_P = looked_at_P[counts.counts_P >= _FEWEST_TOGETHER]
    features, others = enough.features_P, enough.others_P
    together = enough.of_all(looked_at_P, n_active_F)
    phis = phi(together, n_active_F[features], n_active_others[others], n_tokens)
    order = np.lexsort((others, -phis, features))
    order = order[(phis[order] > 0) & (rank_within(features[order]) < most)]
    return features[order], others[order], together[order], phis[order]


def companions(row: dict[str, Any], n_active_F: NDArray[np.int64], n_tokens: int) -> list[Companion]:
    """A row of together.parquet, the highest φ first."""
    n_feature = int(n_active_F[row["feature"]])
    columns = (row["others"], row["n_together"], row["phis"])
    return [
        Companion(other, n_together, n_together * n_tokens / (n_feature * int(n_active_F[other])), phi_)
        for other, n_together, phi_ in zip(*columns, strict=True)
    ]


def phi(together: NDArray[Any], n_first: NDArray[Any], n_second: NDArray[Any], n_tokens: int) -> NDArray[np.float64]:
    """The correlation of two events that happen on ``n_first`` and ``n_second`` of all tokens, ``together`` on both.

    0 where one of them happens always.
    """
    first, second = n_first / n_tokens, n_second / n_tokens
    spread = np.sqrt(first * (1 - first) * second * (1 - second))
    return np.divide(together / n_tokens - first * second, spread, out=np.zeros(len(spread)), where=spread > 0)


def rank_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each entry within its group of equal, adjacent entries."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    return np.arange(len(groups)) - np.repeat(starts, lengths)
