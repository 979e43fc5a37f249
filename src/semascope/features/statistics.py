"""What is known of one feature: the row that the index keeps of it, and how a part of the activations yields it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from semascope.features.format import HISTOGRAM_BINS, LISTED, QUANTILES, sql_source


@dataclass(frozen=True, slots=True)
class WeightedToken:
    """A token id, its text, and a share of the feature's activation or an addition to the token's logit."""

    token: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A feature whose decoder direction is near, by cosine."""

    feature: int
    cosine: float


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """One feature over the tokens that were indexed; a dead feature has zeros and no top tokens.

    ``n_active`` tokens on which it fires, ``density`` their share of all tokens. ``maximum``, ``mean`` and
    ``quantiles`` (at 0.25, 0.5, 0.75, 0.9 and 0.99) are of its active values. ``histogram`` counts them in 20 equal
    bins from 0 to the maximum. ``top_tokens``: the tokens that it fires on with their shares of its summed
    activation. ``promoted`` and ``suppressed``: the tokens whose logits its direction raises and lowers most, per
    unit of activation; empty at a site that is not in the residual stream.
    """

    feature: int
    n_active: int
    density: float
    maximum: float
    mean: float
    quantiles: tuple[float, ...]
    histogram: tuple[int, ...]
    top_tokens: tuple[WeightedToken, ...]
    promoted: tuple[WeightedToken, ...]
    suppressed: tuple[WeightedToken, ...]
    neighbours: tuple[Neighbour, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any], texts: Mapping[int, str]) -> FeatureStatistics:
        """Read a row of statistics.parquet, with the text of every token in it."""

        def weighted(tokens: str, weights: str) -> tuple[WeightedToken, ...]:
            pairs = zip(row[tokens], row[weights], strict=True)
            return tuple(WeightedToken(token, texts[token], weight) for token, weight in pairs)

        return cls(
            feature=row["feature"],
            n_active=row["n_active"],
            density=row["density"],
            maximum=row["maximum"],
            mean=row["mean"],
            quantiles=tuple(row["quantiles"]),
            histogram=tuple(row["histogram"]),
            top_tokens=weighted("top_tokens", "top_shares"),
            promoted=weighted("promoted_tokens", "promoted_logits"),
            suppressed=weighted("suppressed_tokens", "suppressed_logits"),
            neighbours=tuple(map(Neighbour, row["neighbours"], row["cosines"])),
        )


_STATISTICS = f"""
WITH part AS (SELECT feature, token, value FROM {{file}}),
active AS (
    SELECT feature, count(*) AS n_active, max(value) AS maximum, avg(value) AS mean, sum(value) AS mass,
           quantile_cont(value, {list(QUANTILES)}) AS quantiles
    FROM part GROUP BY feature
),
binned AS (
    SELECT feature, least(floor(value::DOUBLE * {HISTOGRAM_BINS} / maximum), {HISTOGRAM_BINS - 1}) AS bin
    FROM part JOIN active USING (feature)
),
histograms AS (
    SELECT feature, [{", ".join(f"count(*) FILTER (bin = {bin})" for bin in range(HISTOGRAM_BINS))}] AS histogram
    FROM binned GROUP BY feature
),
tokens AS (SELECT feature, token, sum(value) AS mass FROM part GROUP BY feature, token),
ranked AS (SELECT *, row_number() OVER (PARTITION BY feature ORDER BY mass DESC, token) AS rank FROM tokens),
top AS (
    SELECT feature, list(token ORDER BY rank) AS top_tokens, list(ranked.mass / active.mass ORDER BY rank) AS top_shares
    FROM ranked JOIN active USING (feature) WHERE rank <= {LISTED} GROUP BY feature
)
SELECT every.feature, coalesce(n_active, 0) AS n_active, coalesce(n_active, 0) / $n_tokens AS density,
       coalesce(maximum, 0) AS maximum, coalesce(mean, 0) AS mean,
       coalesce(quantiles, {[0.0] * len(QUANTILES)}) AS quantiles,
       coalesce(histogram, {[0] * HISTOGRAM_BINS}) AS histogram,
       coalesce(top_tokens, []) AS top_tokens, coalesce(top_shares, []) AS top_shares
FROM (SELECT unnest(range($first, $stop)) AS feature) AS every
LEFT JOIN active USING (feature) LEFT JOIN histograms USING (feature) LEFT JOIN top USING (feature)
ORDER BY every.feature
"""


def part_statistics(
    connection: duckdb.DuckDBPyConnection, file: Path, features: range, n_tokens: int
) -> dict[str, Any]:
    """The columns of statistics.parquet that follow from the activations: a row for each of ``features``."""
    parameters = {"n_tokens": n_tokens, "first": features.start, "stop": features.stop}
    table = connection.sql(_STATISTICS.format(file=sql_source(file)), params=parameters).to_arrow_table()
    return {name: table.column(name) for name in table.column_names}
