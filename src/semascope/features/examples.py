"""Examples: where a feature was active, with the tokens around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

# Contexts that agree this many tokens to either side of the peak tell a reader the same thing.
_FOLDED_TOKENS = 5


class Peak(NamedTuple):
    """The strongest activation of a feature in a window."""

    window: int
    position: int
    value: float


@dataclass(frozen=True, slots=True)
class Context:
    """How many tokens an example shows before and after its peak, at most; it never leaves the peak's document."""

    before: int = 20
    after: int = 10


@dataclass(frozen=True, slots=True)
class Example:
    """A window in which a feature is active, shown around its strongest activation there.

    ``position`` of the peak in the window, ``value`` of the activation at it. ``document``: the ordinal number of
    the document that the peak lies in. ``tokens``: the ids of the tokens shown, all of that document, the first at
    position ``start``. ``values``: the feature's activation at each of them, 0 where it is not active. ``count``:
    how many of the windows examined show the same tokens around their peak, this one included.
    """

    window: int
    position: int
    value: float
    document: int
    start: int
    tokens: tuple[int, ...]
    values: tuple[float, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Interval:
    """Windows whose peak lies from ``low`` up to ``high``: how many there are, and a sample, strongest first."""

    low: float
    high: float
    n_windows: int
    examples: tuple[Example, ...]


def example(peak: Peak, window: Mapping[str, Any], context: Context) -> Example:
    """Show a peak in its window (a row of windows.parquet), without values yet."""
    tokens: Sequence[int] = window["tokens"]
    documents: Sequence[int] = window["documents"]
    document = documents[peak.position]
    start, stop = peak.position, peak.position + 1
    while start > max(0, peak.position - context.before) and documents[start - 1] == document:
        start -= 1
    while stop < min(len(tokens), peak.position + context.after + 1) and documents[stop] == document:
        stop += 1
    return Example(
        window=peak.window,
        position=peak.position,
        value=peak.value,
        document=document,
        start=start,
        tokens=tuple(tokens[start:stop]),
        values=(),
    )


def fold(examples: Sequence[Example]) -> list[Example]:
    """Keep the first of the examples that show the same tokens around their peaks, with their number."""
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], Example] = {}
    for one in examples:
        peak = one.position - one.start
        around = (one.tokens[max(0, peak - _FOLDED_TOKENS) : peak], one.tokens[peak : peak + _FOLDED_TOKENS + 1])
        held = first.get(around)
        first[around] = one if held is None else replace(held, count=held.count + one.count)
    return list(first.values())
