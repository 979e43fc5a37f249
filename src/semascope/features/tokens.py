"""Searching the tokens that features fire on or promote.

tokens.parquet       every token that appears anywhere in the index: its text, and its rows in by_token.bin; then,
                     as tokens without a number, frequent parts of such texts
by_token.bin         by token, the features that fire on it or promote it, and a weight: the share of a feature's
                     activation that lies on the token, or a millionth of what it adds to the token's logit
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.features import format
from semascope.features.postings import Postings, write_postings
from semascope.features.rowgroups import read_table
from semascope.features.words import is_short_word

_ROW = [("feature", "<i4"), ("weight", "<f4")]
# So little that any share of activation counts more; a promoted token never counts nothing.
_WEIGHT_OF_LOGIT, _LEAST_WEIGHT = 1e-6, 1e-9

_BY_TOKEN = f"""
CREATE TEMP VIEW by_token AS
SELECT token, feature, greatest(weight, {_LEAST_WEIGHT}) AS weight FROM (
    SELECT feature, unnest(top_tokens) AS token, unnest(top_shares) AS weight FROM {{statistics}}
    UNION ALL
    SELECT feature, unnest(promoted_tokens), unnest(promoted_logits) * {_WEIGHT_OF_LOGIT} FROM {{statistics}}
)
"""


class TokenSearch:
    """Finds features by words of the tokens that they fire on or promote."""

    def __init__(self, folder: Path, n_features: int) -> None:
        self._n_features = n_features
        table = read_table(folder / format.TOKENS_FILE)
        n_tokens = len(table) - table.column("token").null_count
        texts = table.column("text").combine_chunks()
        self._texts = pc.call_function("utf8_lower", [texts[:n_tokens]])
        self._parts = {part: place for place, part in enumerate(texts[n_tokens:].to_pylist(), start=n_tokens)}
        self._rows = Postings(folder / format.BY_TOKEN_FILE, _ROW, table.column("n_rows").to_numpy())

    def weights(self, search: str) -> NDArray[np.float32]:
        """How well each feature matches, [F]: 0 unless each word of ``search`` stands in a token that it fires on or
        promotes, otherwise the weights of all such tokens added up.

        A word of one or two letters stands in a token as a whole word; others stand there as parts of words, too.
        """
        of_words = [self._of_word(word) for word in sorted(set(search.lower().split()))]
        if not of_words:
            return np.zeros(self._n_features, np.float32)
        weights_F, *others = of_words
        for of_word_F in others:
            found_F = (weights_F > 0) & (of_word_F > 0)
            weights_F = (weights_F + of_word_F) * found_F
        return weights_F

    def _of_word(self, word: str) -> NDArray[np.float32]:
        """The weights of all tokens in which a word stands added up for each feature, [F]."""
        if (part := self._parts.get(word)) is not None:
            return _added_up(self._rows.of(part, part + 1), self._n_features)
        whole = is_short_word(word)
        pattern = rf"(^|[^\pL\pN]){word}($|[^\pL\pN])" if whole else word
        matching = "match_substring_regex" if whole else "match_substring"
        stands = pc.call_function(matching, [self._texts], pc.MatchSubstringOptions(pattern))
        places = np.flatnonzero(stands.to_numpy(zero_copy_only=False))
        return _added_up(self._rows.of_all(places), self._n_features)


def write_tokens(
    connection: duckdb.DuckDBPyConnection, folder: Path, texts: Mapping[int, str], n_features: int
) -> None:
    """Write tokens.parquet and by_token.bin beside statistics.parquet; ``texts``: of every token in the index."""
    connection.execute(_BY_TOKEN.format(statistics=format.sql_source(folder / format.STATISTICS_FILE)))
    counted = dict(connection.execute("SELECT token, count(*) FROM by_token GROUP BY token").fetchall())
    tokens = sorted(texts)
    named, n_rows = [texts[token] for token in tokens], [counted.get(token, 0) for token in tokens]

    def together(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        weights_F = _added_up(rows, n_features)
        found = np.flatnonzero(weights_F)
        return {"feature": found, "weight": weights_F[found]}

    parts = write_postings(
        folder / format.BY_TOKEN_FILE,
        _ROW,
        connection,
        "SELECT feature, weight FROM by_token ORDER BY token, feature",
        [text.lower() for text in named],
        n_rows,
        beginnings=False,
        asked=lambda part: not is_short_word(part),
        together=together,
    )
    columns = {
        "token": [*tokens, *(None for _ in parts)],
        "text": [*named, *parts],
        "n_rows": [*n_rows, *parts.values()],
    }
    pq.write_table(pa.table(columns, schema=format.TOKENS_SCHEMA), folder / format.TOKENS_FILE)


def _added_up(rows: NDArray[Any], n_features: int) -> NDArray[np.float32]:
    weights_F = np.zeros(n_features, np.float32)
    np.add.at(weights_F, rows["feature"], rows["weight"])
    return weights_F
