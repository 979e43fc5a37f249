"""Documents into token windows: packed for training, one each for scoring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch

from semascope.errors import DataError
from semascope.records import Document, TokenBatch
from semascope.text.tokenizer import Tokenizer

_DOCUMENTS_PER_CALL = 256


def _tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    remaining = iter(documents)
    while together := list(islice(remaining, _DOCUMENTS_PER_CALL)):
        yield from zip(together, tokenizer.encode([document.text for document in together]), strict=True)


def pack(
    documents: Iterable[Document], tokenizer: Tokenizer, *, context_tokens: int, windows_per_batch: int
) -> Iterator[TokenBatch]:
    """Join documents by the tokenizer's separator and cut them into windows of exactly ``context_tokens`` tokens.

    Each window begins with the beginning-of-text token if the model wants one. A separator belongs to the document
    that it ends. The tokens left over at the end, less than a window, are dropped; the last batch may be smaller.
    Raises DataError when there is not a single window.
    """
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    end = [] if tokenizer.separator_id is None else [tokenizer.separator_id]
    fresh_tokens = context_tokens - len(bos)
    assert fresh_tokens > 0, "a window has no room for text"
    tokens: list[int] = []
    numbers: list[int] = []
    rows: list[tuple[list[int], list[int]]] = []
    first_window = 0
    for number, (_, ids) in enumerate(_tokenized(documents, tokenizer)):
        tokens += ids + end
        numbers += [number] * (len(ids) + len(end))
        used = 0
        while len(tokens) - used >= fresh_tokens:
            window = slice(used, used + fresh_tokens)
            rows.append((bos + tokens[window], [-1] * len(bos) + numbers[window]))
            used += fresh_tokens
            if len(rows) == windows_per_batch:
                yield _batch(rows, first_window)
                first_window += len(rows)
                rows = []
        del tokens[:used], numbers[:used]
    if rows:
        yield _batch(rows, first_window)
    elif first_window == 0:
        raise DataError(
            f"the text has {len(tokens):,} tokens, less than one window of {context_tokens}: give more text, or choose "
            "shorter windows"
        )


def _batch(rows: list[tuple[list[int], list[int]]], first_window: int) -> TokenBatch:
    tokens_BT, documents_BT = (torch.tensor(part, dtype=torch.int64) for part in zip(*rows, strict=True))
    return TokenBatch(tokens_BT, documents_BT, first_window)


def one_window_each(
    documents: Iterable[Document], tokenizer: Tokenizer, *, context_tokens: int
) -> Iterator[tuple[Document, list[int]]]:
    """Each document with its own window: the beginning-of-text token if the model wants one, then its first tokens.

    At most ``context_tokens`` tokens, fewer for a short text. Raises DataError for a text without a single token.
    """
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for document, ids in _tokenized(documents, tokenizer):
        if not ids:
            raise DataError(f"a text from {document.source} has no tokens ({document.text!r}): leave it out")
        yield document, (bos + ids)[:context_tokens]
