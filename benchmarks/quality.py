"""Quality for the same work: ours and each peer's own training, on the same activations, for as many tokens and one L0.

    make peers
    python benchmarks/quality.py --folder runs/quality --seeds 3
    python benchmarks/quality.py --folder runs/quality --seeds 3 --variant jumprelu gated l1

The activations of a site are harvested once, without outliers; every training draws them in random permutations. Ours
is `semascope.Run` as the command line has it; a peer's is its own loop with its recommended settings and batch, in the
environment of its own (`peers/train.py`), and for sparsify, whose own batch of 65,536 tokens makes few steps of a
short training, also at our batch and with Adam. Where a peer's L0 follows from the weight of a penalty, the weight is
searched with whole trainings of the first seed until the L0 is within 10 % of the one asked for: a user would have to
do the same. The search is not counted in the throughput. Where no weight comes near, as in trainings too short for the
peer's learning rate, the recipe's own is taken and the table says so.

All dictionaries, ours and theirs, are then `SparseAutoencoder`s and measured by `evaluate_reconstruction` on the same
held-out text; dead are features that no one of --dead-tokens training activations makes fire. Throughput is that of
training alone, on activations from disk. Printed are JSON lines and a Markdown table, the mean over seeds with a 95 %
interval (Student's t). What is in the folder is not computed again: the command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
import torch
from measuring import measured
from peers.common import PEERS
from quality_peers import PEERS_PYTHON, PeerCase, PeerError, Peers, as_autoencoder, cases_of
from quality_table import OURS, table
from step import CASES

from semascope import Run
from semascope.activations import ActivationStore
from semascope.config import ModelConfig, RunConfig
from semascope.evaluation import evaluate_reconstruction
from semascope.files import read_json, write_json, write_tensors
from semascope.records import Site, TokenBatch
from semascope.sae import SparseAutoencoder
from semascope.source import ActivationSource
from semascope.text import CorpusConfig
from semascope.training import Columns, Trainer, TrainingConfig, read_metrics


class Benchmark:
    """A folder of trainings and their results, all with the same settings."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        names = (
            "model",
            "layer",
            "tokens",
            "passes",
            "features",
            "l0",
            "batch",
            "eval_tokens",
            "ce_tokens",
            "dead_tokens",
        )
        settings = {name: getattr(options, name) for name in names}
        file = folder / "settings.json"
        if file.exists() and (found := read_json(file)) != settings:
            different = ", ".join(name for name in names if found.get(name) != settings[name])
            raise SystemExit(f"{folder} holds results of other settings ({different}): choose another --folder")
        write_json(file, settings)
        corpus = CorpusConfig(source="sample", context_tokens=128, held_out_fraction=0.2)
        self.model, self.corpus, self.site = ModelConfig(name=options.model), corpus, Site(options.layer)
        self.source = ActivationSource(self.model, corpus, [self.site])

    @cached_property
    def store(self) -> ActivationStore:
        """What all trainings learn from."""
        return self.source.store(self.folder / "activations", self.options.tokens // self.options.passes)

    @cached_property
    def peers(self) -> Peers:
        """The peers, with the same activations in one file."""
        file = self.folder / "activations.safetensors"
        if not file.exists():
            # They are stored in float16 too.
            write_tensors(file, {"activations": self.store.rows(torch.arange(len(self.store))).half()})
        options = self.options
        return Peers(self.folder / "peers", file, tokens=options.tokens, features=options.features, l0=options.l0)

    @cached_property
    def held_out(self) -> list[TokenBatch]:
        """The text that all dictionaries are measured on."""
        per_batch = self.corpus.context_tokens * self.source.windows_per_batch
        return list(islice(self.source.windows(held_out=True), max(1, self.options.eval_tokens // per_batch)))

    def results(self, variant: str, seed: int) -> Iterator[dict[str, Any]]:
        """Ours and then the peers'."""
        yield self._result(f"{variant}-{OURS}-b{self.options.batch}-s{seed}", lambda: self._ours(variant, seed))
        for case in cases_of(variant, self.options.peers, self.options.batch):
            name = f"{variant}-{case.peer}-{case.variant}-b{case.batch}-s{seed}"
            try:
                yield self._result(name, lambda case=case: self._theirs(variant, case, seed))
            except PeerError as error:
                print(f"{name} is left out: {error}", file=sys.stderr, flush=True)

    def _result(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        file = self.folder / "results" / f"{name}.json"
        if not file.exists():
            write_json(file, compute())
        return read_json(file)

    def _ours(self, variant: str, seed: int) -> dict[str, Any]:
        options = self.options
        training = TrainingConfig(
            variant=CASES[variant].with_l0(options.l0),  # pyright: ignore[reportArgumentType]
            features=options.features,
            tokens=options.tokens,
            batch_tokens=options.batch,
            seed=seed,
        )
        config = RunConfig(
            model=self.model, site=str(self.site), corpus=self.corpus, training=training, passes=options.passes,
            keep_activations=True,
        )  # fmt: skip
        folder = self.folder / "ours" / f"{variant}-s{seed}"
        run = Run.begin(folder, config, activations="../../activations", source=self.source)
        if not run.trained:
            compile_loops(run.config.training)
        dictionary = run.train()
        # From the lines of metrics, so that an interrupted training counts as one that was not.
        lines = read_metrics(folder / "metrics.jsonl")
        ends = [0.0, *(line["tokens"] for line in lines)]
        seconds = sum(
            (last - first) / line["tokens_per_second"] for first, last, line in zip(ends, ends[1:], lines, strict=False)
        )
        trained = {
            "tokens": int(ends[-1]),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(ends[-1] / seconds),
        }
        described = {"variant": variant, "by": OURS, "batch": options.batch, "seed": seed, "searched": False}
        return described | trained | self._measured(dictionary)

    def _theirs(self, variant: str, case: PeerCase, seed: int) -> dict[str, Any]:
        weight, trainings = self.peers.weight(case)
        report, dictionary = self.peers.train(case, seed, weight)
        described = {
            "variant": variant,
            "by": case.called(report["version"]),
            "batch": case.batch,
            "seed": seed,
            "searched": trainings > 0,
            "search_trainings": trainings,
            "weight": weight,
        }
        trained = {name: report[name] for name in ("tokens", "seconds", "tokens_per_second", "settings")}
        return described | trained | self._measured(as_autoencoder(dictionary))

    def _measured(self, autoencoder: SparseAutoencoder) -> dict[str, Any]:
        report = evaluate_reconstruction(
            self.source.model,
            self.site,
            autoencoder,
            self.held_out,
            ce_tokens=self.options.ce_tokens,
            recent_medians=self.store.manifest.recent_medians,
        )
        seen_ND = self.store.rows(torch.arange(min(len(self.store), self.options.dead_tokens)))
        names = (
            "l0",
            "explained_variance",
            "explained_variance_interval",
            "ce_recovered",
            "ce_recovered_interval",
            "kl",
        )
        return {
            **{name: value for name, value in report.as_json().items() if name in names},
            "dead_fraction": measured(autoencoder, seen_ND).silent,
            "l0_asked": self.options.l0,
            "features": autoencoder.features,
            "threads": torch.get_num_threads(),
        }


def compile_loops(config: TrainingConfig) -> None:
    """A few steps of a small training: the first call of a compiled loop compiles it, or reads it from disk."""
    small = config.model_copy(update={"features": 512, "tokens": 4096, "batch_tokens": 256})
    x_BD = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(small, Columns(slice(0, 64)), folder=Path(folder))
        trainer.initialize(x_BD)
        trainer.begin(after_step=0)
        for step in range(4):
            trainer.step(x_BD, step)
        trainer.end_interval(4, tokens_per_second=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--variant", nargs="+", default=["topk", "batchtopk", "matryoshka"],
                        choices=[name for name in CASES if name != "kl"])  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=327_680)
    parser.add_argument("--passes", type=int, default=1, help="over tokens / passes stored activations")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2048, help="ours; the peers have their own")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--eval-tokens", type=int, default=8192)
    parser.add_argument("--ce-tokens", type=int, default=2048)
    parser.add_argument("--dead-tokens", type=int, default=100_000)
    options = parser.parse_args()
    if options.peers and not PEERS_PYTHON.exists():
        raise SystemExit("the peers' environment is missing: run 'make peers' first, or give no --peers")
    benchmark = Benchmark(options.folder, options)
    results: list[dict[str, Any]] = []
    # All variants with the first seed come first: an interrupted benchmark has something to say of each.
    for seed in range(options.seeds):
        for variant in options.variant:
            for result in benchmark.results(variant, seed):
                print(json.dumps(result), flush=True)
                results.append(result)
    order = {variant: number for number, variant in enumerate(options.variant)}
    print(f"\n{table(sorted(results, key=lambda result: order[result['variant']]))}")


if __name__ == "__main__":
    main()
