"""The parts of the corpus: which source each document came from, and how a feature is distributed over the sources.

    sources.parquet      one row a source: its name and its tokens
    documents.parquet    one row a document: its source, and the windows it lies in
    by_source.parquet    one row a feature: tokens on which it fires and summed activation in each source

A corpus of very many sources, as a folder of small files is, keeps the largest; the others count as one together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.errors import DataError
from semascope.features import format
from semascope.features.building import IndexedText, PartOfActivations
from semascope.features.rowgroups import RowGroupWriter

OTHER_SOURCES = "other sources"
_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class SourceShare:
    """A feature in one source of the corpus.

    ``n_active`` of the source's ``n_tokens`` tokens make it fire; ``share`` of the feature's summed activation lies
    there. ``lift``: that share over the source's share of all tokens; 1 where the feature does not care.
    """

    source: str
    n_tokens: int
    n_active: int
    share: float
    lift: float


class SourcesWriter:
    """Writes the three files into ``folder``: the first two at once, a row for every feature with each part."""

    def __init__(self, folder: Path, text: IndexedText, sources: Iterable[str]) -> None:
        """``sources``: the source of each document of the text, in order. Raises DataError when there are too few."""
        documents, firsts, counts = np.unique(text.documents_N, return_index=True, return_counts=True)
        lasts = len(text.documents_N) - 1 - np.unique(text.documents_N[::-1], return_index=True)[1]
        held = documents >= 0  # beginnings of text belong to no document
        documents, firsts, lasts, counts = documents[held], firsts[held], lasts[held], counts[held]
        names = _names(sources, documents)
        chosen = _largest(names, counts)
        number_of = {name: number for number, name in enumerate(chosen)}
        self._n_sources = len(chosen)
        source_D = np.array([number_of.get(name, len(chosen) - 1) for name in names], np.int32)
        n_documents = int(documents[-1]) + 1 if len(documents) else 0
        # One more than there are sources stands for tokens that belong to no document.
        source_of = np.full(n_documents + 1, self._n_sources, np.int32)
        source_of[documents] = source_D
        self._source_N = source_of[text.documents_N]
        tokens_S = np.bincount(source_D, weights=counts, minlength=self._n_sources).astype(np.int64)
        pq.write_table(
            pa.table({"source": chosen, "n_tokens": tokens_S}, schema=format.SOURCES_SCHEMA),
            folder / format.SOURCES_FILE,
        )
        with RowGroupWriter(
            folder / format.DOCUMENTS_FILE, format.DOCUMENTS_SCHEMA, format.DOCUMENTS_PER_ROW_GROUP
        ) as writer:
            writer.write(
                {
                    "document": documents,
                    "source": source_D,
                    "first_window": text.window_of(firsts),
                    "last_window": text.window_of(lasts),
                    "n_tokens": counts.astype(np.int32),
                }
            )
        self._writer = RowGroupWriter(
            folder / format.BY_SOURCE_FILE, format.BY_SOURCE_SCHEMA, format.FEATURES_PER_ROW_GROUP
        )

    def add(self, part: PartOfActivations) -> None:
        """Count the activations of some features; parts come in the order of their features."""
        columns = self._n_sources + 1
        step = max(1, _CELLS_AT_ONCE // columns)
        for start in range(part.features.start, part.features.stop, step):
            features = range(start, min(start + step, part.features.stop))
            first, last = np.searchsorted(part.features_K, [features.start, features.stop])
            cells_K = (part.features_K[first:last] - features.start).astype(np.int64) * columns
            cells_K += self._source_N[part.places_K[first:last]]
            size = len(features) * columns
            counts_FS = np.bincount(cells_K, minlength=size).reshape(-1, columns)[:, :-1]
            masses_FS = np.bincount(cells_K, part.values_K[first:last], size).reshape(-1, columns)[:, :-1]
            rows, sources = counts_FS.nonzero()
            offsets = np.searchsorted(rows, np.arange(len(features) + 1)).astype(np.int32)
            lists = (sources.astype(np.int32), counts_FS[rows, sources], masses_FS[rows, sources])
            names = ("sources", "n_active", "masses")
            self._writer.write(
                {"feature": np.arange(features.start, features.stop, dtype=np.int32)}
                | {
                    name: pa.ListArray.from_arrays(offsets, pa.array(values))
                    for name, values in zip(names, lists, strict=True)
                }
            )

    def __enter__(self) -> SourcesWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


def source_shares(row: dict[str, Any], sources: Sequence[tuple[str, int]]) -> list[SourceShare]:
    """A row of by_source.parquet as shares of every source, the largest share first.

    ``sources``: the name and the tokens of each.
    """
    held = {source: (n, mass) for source, n, mass in zip(row["sources"], row["n_active"], row["masses"], strict=True)}
    all_mass = sum(row["masses"])
    all_tokens = sum(n_tokens for _, n_tokens in sources)
    found: list[SourceShare] = []
    for number, (name, n_tokens) in enumerate(sources):
        n_active, mass = held.get(number, (0, 0.0))
        share = mass / all_mass if all_mass else 0.0
        found.append(SourceShare(name, n_tokens, n_active, share, share / (n_tokens / all_tokens)))
    return sorted(found, key=lambda one: -one.share)


def _names(sources: Iterable[str], documents: NDArray[np.int32]) -> list[str]:
    wanted = int(documents[-1]) + 1 if len(documents) else 0
    names = list(islice(sources, wanted))
    if len(names) < wanted:
        raise DataError(
            f"the sources of {len(names):,} documents were given for a text of {wanted:,}: the corpus changed after "
            "that its activations came from; restore it, or start a new run"
        )
    return [names[document] for document in documents]


def _largest(names: Sequence[str], counts: NDArray[np.int64]) -> list[str]:
    """The sources with the most tokens; all others as one, at the end."""
    tokens: Counter[str] = Counter()
    for name, count in zip(names, counts.tolist(), strict=True):
        tokens[name] += count
    if len(tokens) <= format.MOST_SOURCES:
        return [name for name, _ in tokens.most_common()]
    return [name for name, _ in tokens.most_common(format.MOST_SOURCES - 1)] + [OTHER_SOURCES]
