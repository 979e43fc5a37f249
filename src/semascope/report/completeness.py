"""The figure of completeness: which names have a feature, by their frequency, for several dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from semascope.concepts import Completeness, frequency
from semascope.errors import ConfigError
from semascope.files import write_atomically

FORMATS = (".png", ".svg", ".pdf")


def check_plot_path(path: Path) -> None:
    """Raise ConfigError when a figure cannot be written under this name."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"'{path}' is no figure: expected a name that ends in {', '.join(FORMATS)}")


def write_completeness_plot(path: Path, measured: Sequence[tuple[str, Completeness]]) -> None:
    """A dot for each name, at 0 or 1, and the fitted sigmoid, a colour for each named dictionary.

    Raises ConfigError for a suffix that is none of ``FORMATS``.
    """
    check_plot_path(path)
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    every = [frequency(one.count, found.tokens) for _, found in measured for one in found.names]
    x = np.geomspace(min(every) / 1.5, max(every) * 1.5, 200)
    for number, (name, found) in enumerate(measured):
        colour = f"C{number}"
        here = np.array([frequency(one.count, found.tokens) for one in found.names])
        present = np.array([one.present for one in found.names], np.float64)
        shift = 0.025 * (
            number - (len(measured) - 1) / 2
        )  # So that dots of several dictionaries do not hide each other.
        axes.plot(here, present + shift, "|", color=colour, markersize=9, alpha=0.6)
        label = f"{name}: {found.features:,} features, {found.share:.0%} of {len(found.names)}"
        if found.fit is None:
            axes.plot([], [], color=colour, label=f"{label}, whatever their frequency")
        else:
            axes.plot(x, found.fit.at(x), color=colour, label=label)
    axes.set_xscale("log")
    axes.set_ylim(-0.08, 1.08)
    axes.set_xlabel("Occurrences in a million tokens of training text")
    axes.set_ylabel("Has a feature")
    axes.set_title(f"Completeness: {measured[0][1].kind}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    # Below: ticks and curves may be anywhere in the axes.
    figure.legend(frameon=False, loc="outside lower left", fontsize="small")
    suffix = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format=suffix))
