"""What the report shows of one feature, ready for the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup, escape

from semascope.features import Context, Example, FeatureIndex, FeatureStatistics, Interval
from semascope.text import Tokenizer, pieces

TOP_CONTEXTS = 5
MIDDLE_CONTEXTS = 3
LEVELS = 10  # of emphasis, in equal steps of activation up to the feature's maximum
_INTERVALS = 5
_CONTEXT = Context(before=20, after=12)

# Line ends are shown and not obeyed, with a place to break the line after them; other control characters have
# pictures of their own in Unicode.
_VISIBLE = {code: chr(0x2400 + code) for code in range(0x20)} | {
    **dict.fromkeys((ord("\n"), 0x85, 0x2028, 0x2029), "↵\u200b"),
    ord("\r"): "",
    ord("\t"): "⇥",
    0x7F: "\u2421",
}
_SPACE = Markup("<i>␣</i>")


@dataclass(frozen=True, slots=True)
class Segment:
    """Text of a context with the highest activation in it; ``level`` 0 where the feature is not active."""

    text: str
    value: float
    level: int


@dataclass(frozen=True, slots=True)
class ShownContext:
    """A context: the value of its peak, its text, and how many more look the same."""

    value: float
    segments: tuple[Segment, ...]
    alike: int


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """One feature with the concepts (scores as in concepts.json) that it tells best; ``bars`` is an SVG path."""

    statistics: FeatureStatistics
    concepts: Sequence[Any]
    bars: str
    top: tuple[ShownContext, ...]
    middle: Interval | None
    middle_contexts: tuple[ShownContext, ...]


def feature_block(index: FeatureIndex, feature: int, tokenizer: Tokenizer, concepts: Sequence[Any]) -> FeatureBlock:
    """Gather what is shown of a feature. Raises InputError when the index has no such feature."""
    page = index.page(
        feature, n_top=TOP_CONTEXTS, n_intervals=_INTERVALS, per_interval=MIDDLE_CONTEXTS, context=_CONTEXT
    )
    middle = page.intervals[_INTERVALS // 2] if page.intervals else None
    maximum = page.statistics.maximum

    def shown(examples: Sequence[Example]) -> tuple[ShownContext, ...]:
        return tuple(_context(example, maximum, tokenizer) for example in examples)

    return FeatureBlock(
        statistics=page.statistics,
        concepts=concepts,
        bars=_bars(page.statistics.histogram),
        top=shown(page.top),
        middle=middle,
        middle_contexts=shown(middle.examples) if middle else (),
    )


def visible(text: str) -> str:
    """Text on one line: line ends, tabs and control characters are shown as signs."""
    return text.translate(_VISIBLE)


def visible_token(text: str) -> Markup:
    """A token on its own, with signs for spaces at either end, which would otherwise not be seen."""
    bare = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - len(bare) - before
    return _SPACE * before + escape(visible(bare)) + _SPACE * after


def _context(example: Example, maximum: float, tokenizer: Tokenizer) -> ShownContext:
    segments: list[Segment] = []
    plain = ""
    for piece in pieces(example.tokens, tokenizer):
        value = max(example.values[piece.start : piece.stop])
        text = visible(piece.text)
        if not value:
            plain += text
            continue
        bare = text.lstrip(" ") or text  # the space before an active word stays without colour
        plain += text[: len(text) - len(bare)]
        if plain:
            segments.append(Segment(plain, 0.0, 0))
        segments.append(Segment(bare, value, min(LEVELS, math.ceil(LEVELS * value / maximum))))
        plain = ""
    segments.append(Segment(plain, 0.0, 0))
    segments[0] = replace(segments[0], text=segments[0].text.lstrip(" ") or segments[0].text)
    return ShownContext(example.value, tuple(segments), example.count - 1)


def _bars(histogram: Sequence[int]) -> str:
    """Bars of unit width and at most unit height, on a logarithmic scale since weak activations are most."""
    tallest = math.log1p(max(histogram, default=0)) or 1
    heights = [math.log1p(number) / tallest for number in histogram]
    return "".join(f"M{place + 0.08:g} 1v-{height:.3f}h.84V1z" for place, height in enumerate(heights) if height)
