"""What a generation tells while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from semascope.text import Tokenizer

_REPLACEMENT = "\ufffd"
# Bytes that still make no character after so many tokens never will.
_MOST_TOKENS_OF_A_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Which text: the prompt that it goes on from, the variant of interventions, the sample; all counted from 0."""

    prompt: int
    variant: int
    sample: int


@dataclass(frozen=True, slots=True)
class Written:
    """A row went on by some tokens, which together can be read: nearly always one."""

    row: Row
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A row is complete: the model ended it ("stop"), it has as many tokens as asked for ("length"), or as many as the
    model can see at once ("context")."""

    row: Row
    reason: Literal["stop", "length", "context"]


Event = Written | Ended


def texts(events: Iterable[Event]) -> dict[Row, str]:
    """The whole text of each row, when all is written."""
    parts: dict[Row, list[str]] = {}
    for event in events:
        parts.setdefault(event.row, []).extend([event.text] if isinstance(event, Written) else [])
    return {row: "".join(parts[row]) for row in sorted(parts, key=lambda row: (row.prompt, row.variant, row.sample))}


class TextStream:
    """Tokens of one text into what can be read, as soon as it can be read.

    Some tokenizers drop the space before the first token that they decode, and a character's bytes may be several
    tokens: so tokens are read behind those before them, and held back until their bytes are complete.
    """

    def __init__(self, tokenizer: Tokenizer, before: list[int]) -> None:
        self._tokenizer = tokenizer
        self._read, self._waiting = before[-_MOST_TOKENS_OF_A_CHARACTER:], list[int]()

    def add(self, token: int) -> tuple[str, tuple[int, ...]]:
        """The text that this token completes, and its tokens: none where more are needed."""
        self._waiting.append(token)
        before = self._tokenizer.decode(self._read)
        text = self._tokenizer.decode([*self._read, *self._waiting])[len(before) :]
        if text.endswith(_REPLACEMENT) and len(self._waiting) < _MOST_TOKENS_OF_A_CHARACTER:
            return "", ()
        return text, self._taken()

    def rest(self) -> tuple[str, tuple[int, ...]]:
        """What was held back, when nothing follows."""
        return (_REPLACEMENT if self._waiting else "", self._taken())

    def _taken(self) -> tuple[int, ...]:
        taken = tuple(self._waiting)
        self._read, self._waiting = [*self._read, *taken][-_MOST_TOKENS_OF_A_CHARACTER:], []
        return taken
