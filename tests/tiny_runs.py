"""A whole run on the tiny model, with an index, in seconds: for tests of whatever reads runs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from semascope.config import EvaluationConfig, ModelConfig, RunConfig
from semascope.runs import Run
from semascope.sae import TopKConfig
from semascope.text import CorpusConfig
from semascope.training import TrainingConfig

WORDS = ("the", "of", "river", "city", "stone", "light", "house", "green", "seven", "under", "paper", "music", "Zürich")


def texts(n: int = 200, *, seed: int = 0) -> list[str]:
    """Short texts of a few words, some with characters of several bytes; the tiny model's tokens are bytes."""
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=12)) + f" {number}\n" for number in range(n)]


def tiny_run(
    folder: Path,
    documents: Sequence[str],
    *,
    features: int = 64,
    site: str = "resid_post.1",
    seed: int = 0,
    evaluated: bool = False,
) -> Run:
    """A run of `features` features in ``folder``, trained briefly on ``documents`` and indexed."""
    corpus = folder.parent / f"{folder.name}.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    config = RunConfig(
        model=ModelConfig(name="tiny", precision="full", device="cpu"),
        site=site,
        corpus=CorpusConfig(source=str(corpus), context_tokens=32, held_out_fraction=0.25),
        training=TrainingConfig(
            variant=TopKConfig(k=4, auxiliary_k=8), features=features, tokens=4_000, batch_tokens=200,
            buffer_tokens=1_000, seed=seed,
        ),
        evaluation=EvaluationConfig(tokens=512, ce_tokens=256),
        index_tokens=4_000,
    )  # fmt: skip
    run = Run.begin(folder, config)
    run.train()
    if evaluated:
        run.evaluate()
    run.index()
    return run
