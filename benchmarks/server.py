"""How fast `semascope serve` answers what the page asks; prints one JSON object a run.

    python benchmarks/server.py runs/demo                                  # a run with an index
    python benchmarks/server.py --features 1048576 --out runs/wide             # a synthetic one, kept

A synthetic run has an index as benchmarks/index.py makes them, but for the neighbours, which are drawn at random: to
find them takes F² · width operations, and to tell them takes as long whichever they are.

The server is a process of its own, asked over the loopback, one question after another. Milliseconds from question to
answer, over features drawn at random. What needs the language model is left out: that is the model's time.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import httpx
import numpy as np
import torch
from index import build, latency
from torch import Tensor

from semascope.config import RunConfig
from semascope.runs import RunFolder

# Of the decoder: no answer depends on it.
WIDTH = 64
WORDS = ("token1234", "token345", "token12", "token1", "tok", "token1 token2", "the")


@contextmanager
def serving(run: Path) -> Iterator[httpx.Client]:
    """A client of a server for a run."""
    command = [sys.executable, "-m", "semascope", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            address = re.search(r"http://[^/]+/", line := server.stdout.readline())
            assert address, f"the server said: {line}"
            with httpx.Client(base_url=f"{address[0]}api/", timeout=600) as client:
                yield client
        finally:
            server.send_signal(signal.SIGINT)


def drawn_neighbours(unit_FD: Tensor, features: range, k: int) -> tuple[Tensor, Tensor]:
    """In place of `semascope.features.decoder.neighbours`: any features, with their cosines."""
    generator = torch.Generator().manual_seed(features.start)
    ids_nK = torch.randint(len(unit_FD), (len(features), k), generator=generator)
    return ids_nK, torch.einsum("nd,nkd->nk", unit_FD[features.start : features.stop], unit_FD[ids_nK]).clamp(-1, 1)


def measure(run: Path, requests: int) -> dict[str, object]:
    """Ask everything that pages ask of a run with an index."""
    with serving(run) as client:
        [served] = client.get("runs").raise_for_status().json()
        n_features = served["n_features"]
        drawn = np.random.default_rng(0).integers(0, n_features, requests).tolist()
        of_run = f"runs/{served['name']}"

        def asked(path: str, arguments: Sequence[object] = drawn) -> dict[str, float]:
            paths = [path.format(argument) for argument in arguments]
            client.get(paths[0]).raise_for_status()  # What is read once is read now.
            return latency(lambda number: client.get(paths[number]).raise_for_status(), list(range(len(paths))))

        def searched(word: str) -> dict[str, float]:
            path = f"{of_run}/features?search={word}&limit=50"
            return {"found": client.get(path).raise_for_status().json()["total"], **asked(path, range(10))}

        of_feature = of_run + "/features/{}"
        found: dict[str, object] = {
            "features": n_features,
            "tokens": served["indexed_tokens"],
            "feature": asked(of_feature),
            "contexts": asked(of_feature + "/contexts"),
            "intervals": asked(of_feature + "/intervals"),
            "together": asked(of_feature + "/together"),
            "sources": asked(of_feature + "/sources"),
            "list": asked(of_run + "/features?sort=-density&limit=50&offset={}"),
            "filtered": asked(of_run + "/features?min_density=0.00001&sort=maximum&limit=50&offset={}", drawn[:20]),
            "search": {word: searched(word) for word in WORDS},
        }
        if (run / "dictionary").exists():
            found["overview"] = asked(of_run, range(20))
        return found


def main() -> None:
    """Read the runs or the size, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="*")
    parser.add_argument("--features", type=int, default=65_536)
    parser.add_argument("--activations", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, help="keep the synthetic run here")
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    for run in options.run:
        print(json.dumps(measure(run, options.requests), indent=2))
    if not options.run:
        with tempfile.TemporaryDirectory() as temporary:
            run = options.out or Path(temporary) / "synthetic"
            RunFolder.begin(run, RunConfig(site="resid_post.15"))
            with patch("semascope.features.parts.neighbours", drawn_neighbours):
                build(run / "features", options.features, options.activations, 32, WIDTH)
            print(json.dumps(measure(run, options.requests), indent=2))


if __name__ == "__main__":
    main()
