"""How many features of dictionaries of several widths are awake, after trainings on an equal number of tokens.

    semascope train … --features 4096,16384,65536,262144,1048576 --out runs/wide
    python benchmarks/wide.py runs/wide --tokens 16384 --out docs/scaling/wide

For every dictionary of a sweep: what its evaluation says, how often each feature fired on held-out tokens, the
features alive against tokens, what that curve goes on to, what the same dictionary explains before any training, and
how far its features have turned since.
Without a folder the tables of what is kept in ``--out`` are printed again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it

# isort: split
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from measuring import measured
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln
from torch import Tensor

from semascope.activations import ActivationStore, OutlierFilter, harvest
from semascope.files import read_json, write_atomically
from semascope.report import Colours, Drawing
from semascope.runs import Run
from semascope.sae import SparseAutoencoder, build

KEPT = Path(__file__).parents[1] / "docs/scaling/wide"
# On how many tokens the start of a training is measured.
START_TOKENS = 4096
# What a feature does more often than so often says nothing about those that hardly ever fire.
RARE = 20
FAR = (100_000, 1_000_000, 10_000_000)


# --- how many features are alive -------------------------------------------------------------------------------------


def alive(times_N: NDArray[np.int64], share: float) -> float:
    """How many features a part of the tokens is expected to wake, where ``times_N[n]`` of them fire n times in all."""
    n = np.arange(len(times_N))
    return float((times_N * (1 - (1 - share) ** n)).sum())


class Rates:
    """How often features fire: a share never does, the others as Poisson processes with gamma-distributed rates.

    Fitted by maximum likelihood to the features that fired at most `RARE` times, and how many fired more often.
    """

    def __init__(self, times_N: NDArray[np.int64], tokens: int) -> None:
        self.tokens = tokens
        rare_n = np.bincount(np.minimum(np.arange(len(times_N)), RARE + 1), weights=times_N, minlength=RARE + 2)
        mean = max(1e-3, float((rare_n[:-1] * np.arange(RARE + 1)).sum() / max(1, rare_n[:-1].sum())))

        def cost(x: NDArray[np.float64]) -> float:
            return float(-(rare_n * np.log(self._shares(x))).sum() / rare_n.sum())

        starts = [np.array([never, np.log(shape), np.log(mean)]) for never in (-6.0, -2.0) for shape in (0.3, 2.0)]
        settings = {"maxiter": 4000, "xatol": 1e-6}
        found = [minimize(cost, start, method="Nelder-Mead", options=settings) for start in starts]
        self._x = min(found, key=lambda one: float(one.fun)).x

    def alive(self, tokens: float) -> float:
        """The expected share of features that fire within so many tokens."""
        never, shape, mean = self._named(self._x)
        return (1 - never) * (1 - (1 + mean * tokens / self.tokens / shape) ** -shape)

    @staticmethod
    def _named(x: NDArray[np.float64]) -> tuple[float, float, float]:
        return float(1 / (1 + np.exp(-x[0]))), float(np.exp(x[1])), float(np.exp(x[2]))

    def _shares(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of features that fire 0 to `RARE` times, and more often."""
        never, shape, mean = self._named(x)
        n = np.arange(RARE + 1)
        log_p = gammaln(n + shape) - gammaln(shape) - gammaln(n + 1) + shape * np.log(shape / (shape + mean))
        shares = (1 - never) * np.exp(log_p + n * np.log(mean / (shape + mean)))
        shares[0] += never
        return np.append(shares, max(1 - shares.sum(), 0)).clip(1e-12)


# --- measurements ----------------------------------------------------------------------------------------------------


def measure(run: Run, tokens: int) -> dict[str, Any]:
    """One dictionary: what it was, what it keeps, and how often its features fire."""
    training, evaluation = run.config.training, run.evaluate()
    held_out = list(_held_out(run, tokens))
    half = len(held_out) // 2
    of_half, of_rest = (measured(run.dictionary, torch.cat(part)) for part in (held_out[:half], held_out[half:]))
    times_F, counted = of_half.times_F + of_rest.times_F, of_half.tokens + of_rest.tokens
    started = _at_the_start(run)
    cosines_F = torch.nn.functional.cosine_similarity(run.dictionary.W_dec_FO, started.W_dec_FO, dim=1).detach()
    return {
        "features": training.features,
        "l0": evaluation["l0"],
        "tokens_trained": training.tokens,
        "batch_tokens": training.batch_tokens,
        "learning_rate": training.learning_rate,
        "explained_variance": evaluation["explained_variance"],
        "explained_variance_interval": evaluation["explained_variance_interval"],
        "explained_variance_untrained": measured(started, torch.cat(held_out)[:START_TOKENS]).explained_variance,
        "ce_recovered": evaluation["ce_recovered"],
        "dead_fraction": evaluation["dead_fraction"],
        "dead_counted_over_tokens": evaluation["dead_counted_over_tokens"],
        "tokens_per_second": float(np.median([line["tokens_per_second"] for line in run.metrics])),
        "densest": times_F.max().item() / counted,
        "cosine_with_start": cosines_F.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist(),
        "counted_tokens": counted,
        "times": torch.bincount(times_F).tolist(),
        "half_tokens": of_half.tokens,
        "half_times": torch.bincount(of_half.times_F).tolist(),
    }


def _held_out(run: Run, tokens: int) -> Iterator[Tensor]:
    outliers = OutlierFilter(run.saved.metadata["recent_medians"][0])
    left = tokens
    for _, activations in harvest(run.model, [run.site], run.source.windows(held_out=True), outliers):
        yield activations.values_ND.float()[:left]
        left -= len(activations)
        if left <= 0:
            return


def _at_the_start(run: Run) -> SparseAutoencoder:
    """The dictionary before its first step."""
    training, scale = run.config.training, run.saved.metadata["activation_scale"]
    sample_ND = run.source.batches(training, ActivationStore(run.activations_folder)).sample()
    autoencoder = build(training.variant, width=sample_ND.shape[1], features=training.features)
    autoencoder.initialize(sample_ND, sample_ND, torch.Generator().manual_seed(training.seed))
    return autoencoder.folded(scale, scale)


# --- what is shown ---------------------------------------------------------------------------------------------------


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """The tables, as Markdown."""
    first = found[0]
    shown = [
        "| features | L0 | explained variance | before training | CE recovered "
        f"| silent for {first['dead_counted_over_tokens']:,} tokens of training "
        f"| silent on {first['counted_tokens']:,} held-out tokens | most frequent | cosine with the start |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        low, high = one["explained_variance_interval"]
        cells = [
            f"{one['features']:,}", f"{one['l0']:.0f}", f"{one['explained_variance']:.3f} ({low:.3f}–{high:.3f})",
            f"{one['explained_variance_untrained']:.3f}", f"{one['ce_recovered']:.3f}", f"{one['dead_fraction']:.2%}",
            f"{one['times'][0] / one['features']:.2%}", f"{one['densest']:.0%}",
            "{1:.3f} ({0:.3f}–{2:.3f})".format(*one["cosine_with_start"]),
        ]  # fmt: skip
        shown.append(f"| {' | '.join(cells)} |")
    shown += [
        "",
        f"| features | alive on {first['counted_tokens']:,} tokens | so expected from half of them | "
        + " | ".join(f"on {far:,}" for far in FAR)
        + " |",
        "|---|---|---|" + "---|" * len(FAR),
    ]
    for one in found:
        features, tokens = one["features"], one["counted_tokens"]
        rates, by_half = Rates(np.array(one["times"]), tokens), Rates(np.array(one["half_times"]), one["half_tokens"])
        cells = [f"{features:,}", f"{1 - one['times'][0] / features:.2%}", f"{by_half.alive(tokens):.2%}"]
        cells += [f"{rates.alive(far):.2%}" for far in FAR]
        shown.append(f"| {' | '.join(cells)} |")
    return shown


def drawings(found: Sequence[dict[str, Any]]) -> list[Drawing]:
    """Alive features against tokens, and how often features fire."""

    def curve(figure: Figure, colours: Colours) -> None:
        axes = figure.add_subplot()
        for shade, one in zip(np.linspace(0.25, 1, len(found)), found, strict=True):
            shares = np.geomspace(1e-3, 1, 60)
            counted, times = one["counted_tokens"], np.array(one["times"])
            y = [alive(times, share) / one["features"] for share in shares]
            axes.plot(shares * counted, y, color=colours.series, alpha=shade)
            far = np.geomspace(1, FAR[-1] / counted, 60) * counted
            rates = Rates(times, counted)
            axes.plot(far, [rates.alive(t) for t in far], color=colours.series, alpha=shade, linestyle=":")
            axes.annotate(f" {one['features']:,}", (shares[25] * counted, y[25]), color=colours.ink, fontsize=8)
        axes.set(xscale="log", xlabel="tokens", ylabel="features alive", ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")

    def histogram(figure: Figure, colours: Colours) -> None:
        axes = figure.add_subplot()
        for shade, one in zip(np.linspace(0.25, 1, len(found)), found, strict=True):
            times = np.array(one["times"])
            ends = np.unique(np.geomspace(1, len(times), 24).astype(int))
            shares = [times[first:last].sum() / one["features"] for first, last in pairwise(ends)]
            axes.step(ends[:-1] / one["counted_tokens"], shares, where="post", color=colours.series, alpha=shade)
            most = int(np.argmax(shares))
            place = (ends[most] / one["counted_tokens"], shares[most])
            axes.annotate(f" {one['features']:,}", place, color=colours.ink, fontsize=8, va="bottom")
        axes.set(xscale="log", xlabel="share of tokens on which a feature fires", ylabel="share of features")
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}%")
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")

    return [
        Drawing("alive", "Share of features that fire at least once, against tokens", curve, height=230),
        Drawing("firing", "How often features fire, for each width", histogram, height=230),
    ]


def _write(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """A line for each dictionary: there are thousands of numbers in it."""
    text = ",\n".join(json.dumps(one) for one in found)
    write_atomically(
        path, lambda temporary: temporary.write_text(f'{{"dictionaries": [\n{text}\n]}}\n', encoding="utf-8")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, nargs="?", help="the folder of 'semascope train --features …,…'")
    parser.add_argument("--tokens", type=int, default=16_384, help="held-out tokens on which firings are counted")
    parser.add_argument("--out", type=Path, default=KEPT)
    options = parser.parse_args()
    kept_in = options.out / "measured.json"
    if options.sweep:
        runs = [Run.open(file.parent) for file in options.sweep.glob("*/run.json")]
        kept = {one["features"]: one for one in read_json(kept_in)["dictionaries"]} if kept_in.is_file() else {}
        for run in sorted(runs, key=lambda run: run.config.training.features):
            features = run.config.training.features
            if run.trained and features not in kept:
                kept[features] = measure(run, options.tokens)
                options.out.mkdir(parents=True, exist_ok=True)
                _write(kept_in, [kept[features] for features in sorted(kept)])
    found = read_json(kept_in)["dictionaries"]
    if options.sweep:
        for drawing in drawings(found):
            drawing.save(options.out)
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
