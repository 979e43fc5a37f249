"""Tokens as people can read them: parts of one character are shown together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from semascope.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
# UTF-8 needs at most four bytes for a character: three more tokens decide whether bytes belong together.
_LOOKAHEAD_TOKENS = 3
# Tokens that cut through characters on both sides can chain; a longer chain than this is noise.
_MOST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """The text that tokens ``start`` to ``stop`` (exclusive) of a sequence make together."""

    text: str
    start: int
    stop: int


class _AnchoredDecoder:
    """Decodes tokens as they read in the middle of a text.

    Tokenizers in the manner of SentencePiece drop the space before the first token that they decode. Behind an anchor
    nothing is first; the anchor's own text is cut off again.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._anchor = tokenizer.encode(["a"])[0][-1:]
        self._anchor_characters = len(tokenizer.decode(self._anchor))
        self._single_texts: dict[int, str] = {}

    def text(self, ids: Sequence[int], tokenizer: Tokenizer) -> str:
        if len(ids) != 1:
            return tokenizer.decode([*self._anchor, *ids])[self._anchor_characters :]
        (id,) = ids
        if id not in self._single_texts:
            self._single_texts[id] = tokenizer.decode([*self._anchor, id])[self._anchor_characters :]
        return self._single_texts[id]


# Beside the tokenizers and not in them, so that every Tokenizer gains it; it goes when its tokenizer goes.
_decoders: WeakKeyDictionary[Tokenizer, _AnchoredDecoder] = WeakKeyDictionary()


def pieces(ids: Sequence[int], tokenizer: Tokenizer) -> list[Piece]:
    """Split a token sequence into the shortest runs that can be read on their own.

    Nearly always a run is one token. Bytes of one character are one piece; bytes that never become a character are
    shown as U+FFFD and take nothing else with them. Joined, the texts are ``tokenizer.decode(ids)``, except that a
    space at the very beginning is kept where the tokenizer drops it.
    """
    if tokenizer not in _decoders:
        _decoders[tokenizer] = _AnchoredDecoder(tokenizer)
    decoder = _decoders[tokenizer]

    def text(start: int, stop: int) -> str:
        return decoder.text(ids[start:stop], tokenizer)

    def readable(start: int, stop: int) -> bool:
        """Whether nothing that follows changes how this run is read."""
        shown = text(start, stop)
        if _REPLACEMENT not in shown or stop - start == _MOST_TOKENS:
            return True
        ahead = range(stop + 1, min(stop + _LOOKAHEAD_TOKENS, len(ids)) + 1)
        return all(shown + text(stop, further) == text(start, further) for further in ahead)

    found: list[Piece] = []
    start = 0
    while start < len(ids):
        stop = start + 1
        while not readable(start, stop):
            stop += 1
        found.append(Piece(text(start, stop), start, stop))
        start = stop
    return found


def token_text(token: int, tokenizer: Tokenizer) -> str:
    """One token as it reads in the middle of a text."""
    return pieces([token], tokenizer)[0].text
