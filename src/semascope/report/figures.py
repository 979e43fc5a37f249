"""Figures with axes, as SVG that takes its colours and its typeface from the page around it.

Lengths are in the units of the view box, which are CSS pixels when the figure is shown at its natural width.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from semascope.files import write_atomically
from semascope.report.series import averaged, density_bins

_WIDTH, _HEIGHT = 320, 190
_POINTS_PER_INCH = 72  # Matplotlib's SVG has one unit of the view box for each
_FONT_SIZE = 11


@dataclass(frozen=True, slots=True)
class Colours:
    """Of text, of lines that only help to read, and of what is shown."""

    ink: str
    rule: str
    series: str


# Matplotlib wants real colours: the first three stand for what the page puts in their place.
OF_PAGE = Colours("#010203", "#010204", "#010205")
ON_PAPER = Colours("#1d1b19", "#e2ded8", "#1f6f8b")
_PAGE_COLOURS = {OF_PAGE.ink: "currentColor", OF_PAGE.rule: "var(--rule)", OF_PAGE.series: "var(--series)"}


def style(colours: Colours) -> dict[Any, Any]:
    """Matplotlib's settings for a figure in these colours."""
    return {
        "svg.fonttype": "none",
        "font.size": _FONT_SIZE,
        "text.color": colours.ink,
        "axes.labelcolor": colours.ink,
        "axes.edgecolor": colours.rule,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": colours.rule,
        "grid.linewidth": 1,
        "xtick.color": colours.rule,
        "ytick.color": colours.rule,
        "xtick.labelcolor": colours.ink,
        "ytick.labelcolor": colours.ink,
        "ytick.major.size": 0,
    }


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that a page shows and files hold: ``draw`` fills it in given colours. Lengths as in the view box.

    ``name`` tells the figures of a page apart, and ``description`` says to people who cannot see it what it shows.
    """

    name: str
    description: str
    draw: Callable[[Figure, Colours], None]
    width: float = _WIDTH
    height: float = _HEIGHT

    def svg(self) -> Markup:
        """For a page, in its colours."""
        with mpl.rc_context(style(OF_PAGE)):
            figure = _figure(self.width, self.height)
            self.draw(figure, OF_PAGE)
            return _svg(figure, self.name, self.description)

    def save(self, folder: Path) -> None:
        """As NAME.png and NAME.svg, on white."""
        with mpl.rc_context(style(ON_PAPER)), mpl.rc_context({"svg.hashsalt": self.name}):
            figure = _figure(self.width, self.height)
            self.draw(figure, ON_PAPER)
            for kind, about in (("png", {}), ("svg", {"Date": None})):
                write_atomically(
                    folder / f"{self.name}.{kind}",
                    lambda path, kind=kind, about=about: figure.savefig(path, format=kind, dpi=200, metadata=about),
                )


def curve(name: str, tokens: ArrayLike, values: ArrayLike, *, description: str) -> Markup:
    """A quantity against the tokens trained on; of many values it shows averages of neighbours.

    ``name`` tells the figures of a page apart, and ``description``
    says to people who cannot see it what the figure shows.
    """
    x, y = averaged(tokens), averaged(values)
    with mpl.rc_context(style(OF_PAGE)):
        figure = _figure()
        axes = figure.add_subplot()
        axes.plot(x, y, color=OF_PAGE.series, linewidth=1.75)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("tokens")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(EngFormatter(sep="") if np.nanmax(y) >= 1e4 else "{x:g}")
        if np.nanmin(y) >= 0:
            axes.set_ylim(bottom=0)
        return _svg(figure, name, description)


def density_histogram(name: str, densities: ArrayLike, *, description: str) -> Markup:
    """How many features fire on which share of tokens, on a logarithmic axis."""
    counts, edges = density_bins(densities)
    low, high = round(edges[0]), round(edges[-1])
    with mpl.rc_context(style(OF_PAGE)):
        figure = _figure()
        axes = figure.add_subplot()
        axes.stairs(counts, edges, fill=True, color=OF_PAGE.series)
        exponents_shown = range(high, low - 1, -1 if high - low <= 4 else -2)  # labels beside each other
        labels = [f"{np.format_float_positional(100 * 10.0**e, 6, trim='-')} %" for e in exponents_shown]
        axes.set_xticks(exponents_shown, labels)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("share of tokens on which a feature fires")
        axes.set_ylabel("features")
        return _svg(figure, name, description)


def _figure(width: float = _WIDTH, height: float = _HEIGHT) -> Figure:
    # Not from pyplot, which would keep the figure and choose a window system.
    return Figure((width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")


def _svg(figure: Figure, name: str, description: str) -> Markup:
    buffer = io.StringIO()
    # The salt makes the ids of clip paths and markers differ between figures, and be the same in every run.
    with mpl.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawing = re.sub(r"<style.*?</style>|<!--.*?-->|<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    for sentinel, colour in _PAGE_COLOURS.items():
        drawing = drawing.replace(sentinel, colour)
    body = re.sub(r"^.*?<svg[^>]*>", "", drawing, flags=re.DOTALL)
    width, height = (round(inches * _POINTS_PER_INCH) for inches in figure.get_size_inches())
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, description)
    return opening + Markup(body)
