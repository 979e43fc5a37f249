"""A law in pictures, as in the paper: what a budget buys, the frontier, the optima, the learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from semascope.report import Colours, Drawing
from semascope.scaling.law import Fit, Law, LawAtL0, Optimum, Point, Value
from semascope.scaling.plan import flop

_TALL = 230
# From the faintest of several lines to the strongest.
_SHADES = (0.25, 1.0)

_Label = tuple[float, float, str]
"""Where, and what."""


def drawings(law: Law, laws: LawAtL0) -> list[tuple[str, Drawing]]:
    """The figures of one L0, each with its caption."""
    own = [point for point in law.points if point.asked_l0 == laws.asked_l0]
    if not own:
        return []
    suffix = f"-l{laws.asked_l0:g}" if len(law.laws) > 1 else ""
    fit = laws.loss if laws.loss.problem is None else laws.loss_without_floor

    def drawing(name: str, caption: str, draw: Callable[[Axes, Colours], None]) -> tuple[str, Drawing]:
        def on(figure: Figure, colours: Colours) -> None:
            draw(figure.add_subplot(), colours)

        return caption, Drawing(f"{name}{suffix}", caption, on, height=_TALL)

    return [
        drawing("loss", "Loss against compute, for each width", lambda a, c: _loss(a, c, own, laws.optima, fit)),
        drawing("widths", "Loss against features, for each budget", lambda a, c: _widths(a, c, own, laws.optima)),
        drawing("features", "Best features against compute", lambda a, c: _optima(a, c, laws.optima, laws.features)),
        drawing("steps", "Best steps against compute", lambda a, c: _optima(a, c, laws.optima, laws.steps)),
        drawing("rates", "Loss against learning rate, at each budget’s best width", lambda a, c: _rates(a, c, own)),
        drawing(
            "rate",
            "Best learning rate against features",
            lambda a, c: _rate(a, c, laws.optima, laws.learning_rate),
        ),
    ]  # fmt: skip


def _loss(axes: Axes, colours: Colours, points: Sequence[Point], optima: Sequence[Optimum], fit: Fit) -> None:
    widths, labels = sorted({point.features for point in points}), list[_Label]()
    for shade, features in zip(_shades(widths), widths, strict=True):
        best = _best(p for p in points if p.features == features)
        axes.plot(list(best), [p.loss for p in best.values()], marker=".", color=colours.series, alpha=shade)
        labels.append((list(best)[-1], list(best.values())[-1].loss, f"{features:,}"))
    _frontier(axes, colours, optima, "loss", fit)
    _name(axes, "compute, FLOP", "loss")
    _label(axes, colours, labels)


def _widths(axes: Axes, colours: Colours, points: Sequence[Point], optima: Sequence[Optimum]) -> None:
    budgets, labels = sorted({point.budget for point in points}), list[_Label]()
    for shade, budget in zip(_shades(budgets), budgets, strict=True):
        of_budget = [p for p in points if p.budget == budget]
        best = [min((p for p in of_budget if p.features == f), key=lambda p: p.loss) for f in _features(of_budget)]
        axes.plot([p.features for p in best], [p.loss for p in best], marker=".", color=colours.series, alpha=shade)
        labels.append((best[-1].features, best[-1].loss, flop(budget)))
    for optimum in optima:
        if optimum.features and optimum.loss:
            axes.plot(optimum.features.value, optimum.loss.value, marker="o", color=colours.ink, linestyle="")
    _name(axes, "features", "loss")
    _label(axes, colours, labels)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _optima(axes: Axes, colours: Colours, optima: Sequence[Optimum], fit: Fit) -> None:
    _frontier(axes, colours, optima, fit.y, fit)
    _name(axes, "compute, FLOP", fit.y)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _rates(axes: Axes, colours: Colours, points: Sequence[Point]) -> None:
    budgets, labels = sorted({point.budget for point in points}), list[_Label]()
    for shade, budget in zip(_shades(budgets), budgets, strict=True):
        least = min((p for p in points if p.budget == budget), key=lambda p: p.loss)
        same = [p for p in points if (p.budget, p.features) == (budget, least.features)]
        same.sort(key=lambda p: p.learning_rate)
        rates, losses = [p.learning_rate for p in same], [p.loss for p in same]
        axes.plot(rates, losses, marker=".", color=colours.series, alpha=shade)
        labels.append((rates[-1], losses[-1], f"{flop(budget)}: {least.features:,}"))
    _name(axes, "learning rate", "loss")
    _label(axes, colours, labels)


def _rate(axes: Axes, colours: Colours, optima: Sequence[Optimum], fit: Fit) -> None:
    for optimum in optima:
        if optimum.features and optimum.learning_rate:
            _mark(axes, colours, optimum.features.value, optimum.learning_rate)
    _line(axes, colours, fit)
    _name(axes, "features", "learning rate")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _frontier(axes: Axes, colours: Colours, optima: Sequence[Optimum], name: str, fit: Fit) -> None:
    values: dict[str, Callable[[Optimum], Value | None]] = {
        "loss": lambda o: o.loss, "features": lambda o: o.features, "steps": lambda o: o.steps,
    }  # fmt: skip
    for optimum in optima:
        if value := values[name](optimum):
            _mark(axes, colours, optimum.budget, value)
    _line(axes, colours, fit)


def _mark(axes: Axes, colours: Colours, x: float, y: Value) -> None:
    low, high = y.interval or (y.value, y.value)
    axes.plot([x, x], [low, high], color=colours.ink, linewidth=1.5)
    axes.plot(x, y.value, marker="o", color=colours.ink, linestyle="")


def _line(axes: Axes, colours: Colours, fit: Fit) -> None:
    """The law between the points, with its interval; or in words why there is none."""
    if fit.problem is not None or fit.x_range is None:
        axes.set_title("no law: see below", fontsize="small", loc="left")
        return
    x = np.geomspace(*fit.x_range, 50)
    values = [fit.at(float(one)) for one in x]
    axes.plot(x, [value.value for value in values], color=colours.ink, linewidth=1.25)
    lows, highs = zip(*(value.interval or (value.value, value.value) for value in values), strict=True)
    axes.fill_between(x, np.array(lows), np.array(highs), color=colours.ink, alpha=0.12, linewidth=0)


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.margins(x=0.12)
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if high / low < 30:  # too few powers of ten to read a value off
            axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7) if high / low < 8 else (1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(axes: Axes, colours: Colours, labels: Sequence[_Label]) -> None:
    """Write beside points, from the lowest up, each at some distance from the one below."""
    low, high = np.log(axes.get_ylim())
    beneath = -np.inf
    for x, y, text in sorted(labels, key=lambda label: label[1]):
        beneath = max(float(np.log(y)), beneath + 0.05 * (high - low))
        axes.annotate(
            text, (x, float(np.exp(beneath))), (4, 0),
            textcoords="offset points", va="center", fontsize=7.5, color=colours.ink,
        )  # fmt: skip


def _best(points: Iterable[Point]) -> dict[float, Point]:
    """The point of the least loss of each budget, in the order of budgets."""
    best: dict[float, Point] = {}
    for point in points:
        if point.budget not in best or point.loss < best[point.budget].loss:
            best[point.budget] = point
    return dict(sorted(best.items()))


def _features(points: Sequence[Point]) -> list[int]:
    return sorted({point.features for point in points})


def _shades(several: Sequence[object]) -> list[float]:
    return np.linspace(*_SHADES, len(several)).tolist() if len(several) > 1 else [1.0]
