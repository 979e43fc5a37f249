"""How long the feature index takes to build and to answer, on synthetic codes; prints one JSON object a size.

    python benchmarks/index.py --features 8192 65536 --activations 10000000

The density of features falls off as 1 / rank (Zipf), so that the densest fire on most tokens and the median on a
few; decoder and unembedding are random. Latencies are in milliseconds, over features drawn at random plus the 20
densest, from an index that was opened once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch

from semascope.features.build import IndexBuilder
from semascope.features.index import FeatureIndex
from semascope.records import Codes, TokenBatch

WINDOW_TOKENS = 128
WINDOWS_PER_BATCH = 128
TOKENS_PER_DOCUMENT = 200
VOCABULARY = 49_152


def build(folder: Path, n_features: int, n_activations: int, active_per_token: int, width: int) -> dict[str, float]:
    """Build an index of about ``n_activations``; returns the seconds that each step took."""
    generator = np.random.default_rng(0)
    n_tokens = n_activations // active_per_token
    density_F = 1 / np.arange(1, n_features + 1)
    density_F = np.minimum(density_F * (active_per_token / density_F.sum()), 0.8)
    rank_of_F = generator.permutation(n_features)
    tokens_per_batch = WINDOW_TOKENS * WINDOWS_PER_BATCH
    seconds = {"add": 0.0, "finish": 0.0}
    with IndexBuilder(folder, n_features=n_features) as builder:
        for batch in range(-(-n_tokens // tokens_per_batch)):
            tokens_BT = torch.from_numpy(
                np.minimum(generator.zipf(1.2, (WINDOWS_PER_BATCH, WINDOW_TOKENS)), VOCABULARY) - 1
            )
            counts_F = generator.binomial(tokens_per_batch, density_F)
            features = np.repeat(rank_of_F, counts_F)
            rows = generator.integers(0, tokens_per_batch, len(features))
            unique = np.unique(rows * n_features + features)
            rows, features = unique // n_features, unique % n_features
            offsets = np.searchsorted(rows, np.arange(tokens_per_batch + 1))
            values = generator.exponential(1.0, len(rows)).astype(np.float32) + 0.01
            codes = Codes(torch.from_numpy(offsets), torch.from_numpy(features), torch.from_numpy(values), n_features)
            places = torch.arange(tokens_per_batch)
            windows_N = batch * WINDOWS_PER_BATCH + places // WINDOW_TOKENS
            documents_BT = (batch * tokens_per_batch + places).reshape(tokens_BT.shape) // TOKENS_PER_DOCUMENT
            start = time.perf_counter()
            builder.add_windows(TokenBatch(tokens_BT, documents_BT, batch * WINDOWS_PER_BATCH))
            builder.add(codes, tokens_BT.flatten(), windows_N, places % WINDOW_TOKENS)
            seconds["add"] += time.perf_counter() - start
        torch.manual_seed(0)
        W_dec_FD = torch.nn.functional.normalize(torch.randn(n_features, width), dim=1)
        unembed_DV = torch.randn(width, VOCABULARY)
        start = time.perf_counter()
        builder.finish(
            W_dec_FD,
            promoted=lambda directions_nD: directions_nD @ unembed_DV,
            token_text=lambda token: f" token{token}",
            sources=(f"source {document % 12}" for document in count()),
            provenance={"corpus": "synthetic"},
        )
        seconds["finish"] = time.perf_counter() - start
    return seconds


def latency(call: Callable[[int], object], arguments: list[int]) -> dict[str, float]:
    """Median, 95th percentile and maximum of the milliseconds that ``call`` takes."""
    taken: list[float] = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        taken.append(1e3 * (time.perf_counter() - start))
    return {name: round(float(np.percentile(taken, q)), 1) for name, q in (("median", 50), ("p95", 95), ("max", 100))}


def measure(n_features: int, n_activations: int, active_per_token: int, width: int) -> dict[str, object]:
    """Build and question one index in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "features"
        seconds = build(folder, n_features, n_activations, active_per_token, width)
        n_bytes = {
            name: sum(file.stat().st_size for file in folder.glob(pattern))
            for name, pattern in (("activations", "activations/*"), ("all", "**/*.*"))
        }
        start = time.perf_counter()
        with FeatureIndex.open(folder) as index:
            opened = time.perf_counter() - start
            densest = [one.feature for one in index.list(sort="-density", limit=20)]
            drawn = np.random.default_rng(1).integers(0, n_features, 200).tolist()
            index.page(drawn[0])
            return {
                "features": n_features,
                "activations": index.n_activations,
                "tokens": index.n_tokens,
                "parts": len(list(folder.glob("activations/*"))),
                "densest": index.statistics(densest[0]).n_active,
                "build_seconds": {name: round(value, 1) for name, value in seconds.items()},
                "megabytes": {name: round(value / 1e6, 1) for name, value in n_bytes.items()},
                "open_ms": round(1e3 * opened, 1),
                "page_ms": latency(index.page, drawn),
                "page_of_densest_ms": latency(index.page, densest),
                "statistics_ms": latency(index.statistics, drawn),
                "list_ms": latency(lambda offset: index.list(sort="-density", offset=offset), list(range(0, 400, 20))),
                "deep_list_ms": latency(
                    lambda offset: index.list(sort="-maximum", offset=offset),
                    list(range(0, n_features // 2, n_features // 40)),
                ),
                "list_of_50_ms": latency(lambda n: index.of(drawn[n : n + 50]), list(range(0, 150, 5))),
                "together_ms": latency(index.together, drawn),
                "sources_ms": latency(index.sources, drawn),
                "document_ms": latency(
                    lambda number: index.document(number, feature=densest[0]),
                    list(range(100))[: index.n_tokens // TOKENS_PER_DOCUMENT],
                ),
                "search_texts_ms": latency(
                    lambda n: index.select(search=f"token{n}", search_in="texts"), list(range(1, 120, 4))
                ),
                "search_beginning_ms": latency(lambda _: index.select(search="tok", search_in="texts"), [0] * 20),
                "search_ms": latency(lambda token: index.list(search=f"token{token}"), list(range(100, 120))),
            }


def main() -> None:
    """Read the sizes and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[8192, 65_536])
    parser.add_argument("--activations", type=int, default=10_000_000)
    parser.add_argument("--active-per-token", type=int, default=32)
    parser.add_argument("--width", type=int, default=576)
    options = parser.parse_args()
    for n_features in options.features:
        print(json.dumps(measure(n_features, options.activations, options.active_per_token, options.width), indent=2))


if __name__ == "__main__":
    main()
