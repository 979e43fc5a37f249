from collections.abc import Sequence

import pytest
import torch

from semascope.errors import DataError
from semascope.records import Document
from semascope.text import ByteTokenizer, one_window_each, pack

END = 256


class BeginningByteTokenizer(ByteTokenizer):
    """Bytes, with a model that wants token 0 before every text."""

    bos_id = 0


class UnseparatedByteTokenizer(ByteTokenizer):
    separator_id = None


def documents(*texts: str) -> list[Document]:
    return [Document(text, "test") for text in texts]


def packed(tokenizer: ByteTokenizer, texts: Sequence[str], context: int, per_batch: int) -> list[tuple[list, list]]:
    batches = list(pack(documents(*texts), tokenizer, context_tokens=context, windows_per_batch=per_batch))
    return [(batch.tokens_BT.tolist(), batch.documents_BT.tolist()) for batch in batches]


def test_documents_are_joined_by_the_separator_and_the_rest_is_dropped() -> None:
    ((tokens, numbers),) = packed(ByteTokenizer(), ["abc", "de", "fg"], 4, 8)
    assert tokens == [[*b"abc", END], [*b"de", END, *b"f"]]
    assert numbers == [[0, 0, 0, 0], [1, 1, 1, 2]]


def test_every_window_begins_with_the_token_that_the_model_wants() -> None:
    ((tokens, numbers),) = packed(BeginningByteTokenizer(), ["abcdef", "gh"], 4, 8)
    assert tokens == [[0, *b"abc"], [0, *b"def"], [0, END, *b"gh"]]
    assert numbers == [[-1, 0, 0, 0], [-1, 0, 0, 0], [-1, 0, 1, 1]]


def test_without_a_separator_documents_touch() -> None:
    ((tokens, _),) = packed(UnseparatedByteTokenizer(), ["ab", "cd"], 4, 8)
    assert tokens == [[*b"abcd"]]


def test_batches_are_consecutive_and_do_not_change_the_windows() -> None:
    texts = [f"document number {n}" * (n % 5) for n in range(700)]
    whole = list(pack(documents(*texts), ByteTokenizer(), context_tokens=32, windows_per_batch=10_000))
    parts = list(pack(documents(*texts), ByteTokenizer(), context_tokens=32, windows_per_batch=7))
    assert len(whole) == 1
    assert torch.equal(torch.cat([part.tokens_BT for part in parts]), whole[0].tokens_BT)
    assert torch.equal(torch.cat([part.documents_BT for part in parts]), whole[0].documents_BT)
    assert [part.first_window for part in parts] == list(range(0, len(whole[0].tokens_BT), 7))
    assert {part.tokens_BT.shape[0] for part in parts[:-1]} == {7}
    assert whole[0].tokens_BT.dtype == whole[0].documents_BT.dtype == torch.int64
    assert whole[0].tokens_BT.shape[1] == 32


def test_less_than_a_window_is_said() -> None:
    with pytest.raises(DataError, match="3 tokens, less than one window of 4"):
        packed(ByteTokenizer(), ["ab"], 4, 8)


def test_one_window_each_truncates_and_keeps_the_document() -> None:
    first, second = documents("abcdef", "g")
    windows = list(one_window_each([first, second], BeginningByteTokenizer(), context_tokens=4))
    assert windows == [(first, [0, *b"abc"]), (second, [0, *b"g"])]


def test_a_text_without_tokens_is_an_error() -> None:
    with pytest.raises(DataError, match="from test has no tokens"):
        list(one_window_each(documents("a", ""), BeginningByteTokenizer(), context_tokens=4))
