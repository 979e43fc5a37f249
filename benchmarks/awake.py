"""What a training's start, its learning rate and its ways of waking features do to dictionaries trained for few steps.

    semascope train smollm2-135m --data sample --layer 15 --context 128 --held-out 0.2 --tokens 250k --features 128 \
        --keep-activations --out runs/kept
    python benchmarks/awake.py runs/kept/activations

trains dictionaries on the same activations and prints a row of a Markdown table for each: L0, explained variance, and
the features that did not fire once, on 8,192 activations that nothing was trained on. "unit" and "published" are the
start and the auxiliary loss of Gao et al. (2024); "fitted" are those that Semascope trains with. "afresh": whether
dead features start afresh, in the variants in which they do.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from unittest.mock import patch

import semascope  # noqa: F401  # before PyTorch, as the command has it

# isort: split
import torch
from measuring import measured
from torch import Tensor

from semascope.activations import ActivationStore
from semascope.activations.streams import unit_scale
from semascope.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    KLConfig,
    L1Config,
    SparseAutoencoder,
    TopKConfig,
    VariantConfig,
)
from semascope.training import Columns, Trainer, TrainingConfig
from semascope.training.loop import INTERVAL_STEPS
from semascope.training.trainer import QUIET_SHARE

Start = Literal["unit", "fitted"]

STARTS: tuple[Start, ...] = get_args(Start)
# The variants in which dead features start afresh.
RENEWED = ("topk", "batchtopk", "jumprelu")
HELD_OUT = 8192
SAMPLE = 16_384


@dataclass(frozen=True)
class Case:
    """One training. ``quiet_after``: tokens of silence that AuxK waits for, and None, like a ``learning_rate`` of None,
    is the default."""

    variant: str = "topk"
    features: int = 65_536
    l0: int = 128
    tokens: int = 16_384
    batch: int = 256
    learning_rate: float | None = 5e-4
    start: Start = "fitted"
    auxiliary: Literal["published", "fitted", "none"] = "fitted"
    afresh: bool = True
    quiet_after: int | None = 4096
    auxiliary_k: int = 256
    coefficient: float = 1 / 32

    @property
    def config(self) -> TrainingConfig:
        """As settings of a training."""
        return TrainingConfig(
            variant=VARIANTS[self.variant](self.l0).model_copy(
                update={
                    "auxiliary_k": self.auxiliary_k,
                    "auxiliary_coefficient": 0.0 if self.auxiliary == "none" else self.coefficient,
                }
            ),
            features=self.features,
            tokens=self.tokens,
            batch_tokens=self.batch,
            learning_rate=self.learning_rate,
            dead_after_tokens=self.quiet_after and round(self.quiet_after / QUIET_SHARE),
        )


VARIANTS: dict[str, Callable[[int], VariantConfig]] = {
    "topk": lambda l0: TopKConfig(k=l0),
    "batchtopk": lambda l0: BatchTopKConfig(k=l0),
    "jumprelu": lambda l0: JumpReLUConfig(l0=l0),
    "jumprelu, gemma-scope": lambda l0: JumpReLUConfig(l0=l0, recipe="gemma-scope"),
    "gated": lambda l0: GatedConfig(l0=l0),
    "l1": lambda l0: L1Config(l0=l0),
    "kl": lambda l0: KLConfig(l0=l0),
}


def _ordinary(start: Start, auxiliary: Literal["published", "fitted"]) -> list[Case]:
    sizes = [(8192, 196_608, 1024, 12_288), (16_384, 49_152, 512, 3072)]
    return [
        Case("topk", features, 32, tokens, batch, None, start, auxiliary, quiet_after)
        for features, tokens, batch, quiet_after in sizes
    ]


CASES = [
    Case(start="unit", auxiliary="published", learning_rate=2e-3),
    Case(start="unit", auxiliary="published", learning_rate=3e-3),
    *(Case(auxiliary="published", learning_rate=rate) for rate in (4e-3, 2e-3, 1e-3)),
    Case(auxiliary="published", learning_rate=1e-3, quiet_after=2048),
    Case(auxiliary="published", learning_rate=1e-3, quiet_after=1024),
    Case(auxiliary="published", learning_rate=1e-3, quiet_after=1024, auxiliary_k=1024),
    Case(auxiliary="published", learning_rate=1e-3, quiet_after=1024, auxiliary_k=512, coefficient=0.3),
    *(Case(auxiliary="none", learning_rate=rate) for rate in (2e-3, 1e-3, 5e-4, 2.5e-4)),
    Case(auxiliary="published", quiet_after=2048),
    *(Case(quiet_after=after) for after in (2048, 1024)),
    *_ordinary("unit", "published"),
    *_ordinary("fitted", "published"),
    *_ordinary("unit", "fitted"),
    *_ordinary("fitted", "fitted"),
    *(Case(tokens=8192, batch=batch) for batch in (64, 128, 256)),
    Case(tokens=8192, batch=128, l0=256),
    *(
        Case(variant, 8192, 32, 98_304, 1024, None, start, quiet_after=None)
        for variant in ("jumprelu", "jumprelu, gemma-scope", "gated", "l1")
        for start in STARTS
    ),
    # So wide for its batches that a feature fires in one of four of them.
    *(Case(variant, 16_384, 32, 61_440, 128, None, quiet_after=None) for variant in ("gated", "l1")),
    *(
        Case(variant, 16_384, 32, 61_440, batch, None, afresh=afresh, quiet_after=None)
        for variant in RENEWED
        for batch in (512, 128)
        for afresh in (False, True)
    ),
    # Narrow ones, at the learning rate of wider ones and at their own.
    *(
        Case(variant, features, 32, tokens, batch, rate, quiet_after=None)
        for features, tokens, batch in ((512, 204_800, 1024), (2048, 204_800, 2048))
        for variant in ("topk", "batchtopk", "jumprelu", "gated", "l1", "kl")
        for rate in (2e-3, None)
    ),
]


COLUMNS = (
    "variant", "features", "L0", "tokens", "batch", "learning rate", "start", "AuxK", "afresh", "quiet after",
    "explained at the start", "explained variance", "silent on 8,192 others", "silent for the last quarter",
)  # fmt: skip


def _none_afresh(
    _: SparseAutoencoder, dead_T: Tensor, *__: Tensor | float, least: float = 0.0
) -> tuple[Tensor, Tensor]:
    return dead_T[:0], torch.tensor(least)


@contextmanager
def as_in(case: Case) -> Iterator[None]:
    """The start or the auxiliary loss as published, and no feature started afresh, where the case has it so."""
    with ExitStack() as patches:
        for where, how in (("initial", case.start), ("auxiliary", case.auxiliary)):
            if how in ("unit", "published"):
                patches.enter_context(patch(f"semascope.sae.{where}.fitting_factor", lambda *_: torch.tensor(1.0)))
        if not case.afresh:
            for variant in RENEWED:
                patches.enter_context(patch(f"semascope.sae.{variant}.start_afresh", _none_afresh))
        yield


def row(case: Case, train_ND: Tensor, held_out_ND: Tensor, folder: Path) -> str:
    """Train one, and say what became of it."""
    trainer = Trainer(case.config, Columns(slice(0, train_ND.shape[1])), folder=folder)
    with as_in(case):
        trainer.initialize(train_ND[:SAMPLE])
        trainer.begin(after_step=0)
        before = measured(trainer.autoencoder, held_out_ND)
        for step in range(case.config.steps):
            trainer.step(train_ND[step * case.batch : (step + 1) * case.batch], step)
            if (step + 1) % INTERVAL_STEPS == 0 or step + 1 == case.config.steps:
                trainer.end_interval(step + 1, tokens_per_second=0.0)
    after = measured(trainer.autoencoder, held_out_ND)
    quiet = len(trainer.firing.silent(case.tokens // 4)) / case.features
    assert trainer.config.dead_after_tokens is not None
    waits = "" if case.auxiliary == "none" else f"{round(QUIET_SHARE * trainer.config.dead_after_tokens):,}"
    auxiliary = case.auxiliary
    if (case.auxiliary_k, case.coefficient) != (256, 1 / 32):
        auxiliary += f", k_aux {case.auxiliary_k}, coefficient {case.coefficient:.2g}"
    cells = (
        case.variant, f"{case.features:,}", f"{after.l0:.1f}", f"{case.tokens:,}", f"{case.batch:,}",
        f"{trainer.config.learning_rate:.2g}", case.start, auxiliary,
        ("yes" if case.afresh else "no") if case.variant in RENEWED else "", waits, f"{before.explained_variance:.3f}",
        f"{after.explained_variance:.3f}", f"{after.silent:.2%}", f"{quiet:.2%}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="the activations that 'semascope train --keep-activations' left")
    parser.add_argument("--variant", choices=VARIANTS, nargs="+", default=[*VARIANTS], help="train these alone")
    parser.add_argument("--features", type=int, nargs="+", help="train those with so many features alone")
    options = parser.parse_args()
    store = ActivationStore(options.store)
    x_ND = store.rows(torch.randperm(len(store), generator=torch.Generator().manual_seed(1)))
    x_ND *= unit_scale(x_ND.square().sum(dim=1).mean().item(), x_ND.shape[1])
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for case in CASES:
        if case.variant not in options.variant or case.features not in (options.features or [case.features]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(row(case, x_ND[:-HELD_OUT], x_ND[-HELD_OUT:], Path(folder)), flush=True)


if __name__ == "__main__":
    main()
