"""Figures with axes, as SVG that takes its colours and its typeface from the page around it.

Lengths are in the units of the view box, which are CSS pixels when the figure is shown at its natural width.
"""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from semascope.report.series import averaged, density_bins

_WIDTH, _HEIGHT = 320, 190
_POINTS_PER_INCH = 72  # Matplotlib's SVG has one unit of the view box for each
_FONT_SIZE = 11

# Matplotlib wants real colours: these stand for what the page puts in their place.
_INK, _RULE, _SERIES = "#010203", "#010204", "#010205"
_PAGE_COLOURS = {_INK: "currentColor", _RULE: "var(--rule)", _SERIES: "var(--series)"}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": _FONT_SIZE,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _RULE,
    "grid.linewidth": 1,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "ytick.major.size": 0,
}


def curve(name: str, tokens: ArrayLike, values: ArrayLike, *, description: str) -> Markup:
    """A quantity against the tokens trained on; of many values it shows averages of neighbours.

    ``name`` tells the figures of a page apart, and ``description``
    says to people who cannot see it what the figure shows.
    """
    x, y = averaged(tokens), averaged(values)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        axes.plot(x, y, color=_SERIES, linewidth=1.75)
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
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        axes.stairs(counts, edges, fill=True, color=_SERIES)
        exponents_shown = range(high, low - 1, -1 if high - low <= 4 else -2)  # labels beside each other
        labels = [f"{np.format_float_positional(100 * 10.0**e, 6, trim='-')} %" for e in exponents_shown]
        axes.set_xticks(exponents_shown, labels)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("share of tokens on which a feature fires")
        axes.set_ylabel("features")
        return _svg(figure, name, description)


def _figure() -> tuple[Figure, Axes]:
    # Not from pyplot, which would keep the figure and choose a window system.
    figure = Figure((_WIDTH / _POINTS_PER_INCH, _HEIGHT / _POINTS_PER_INCH), layout="constrained")
    return figure, figure.add_subplot()


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
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, description)
    return opening + Markup(body)
