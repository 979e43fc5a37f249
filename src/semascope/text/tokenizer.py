"""Text to token ids and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from semascope.errors import ModelError


class Tokenizer(Protocol):
    """What the stages need of a tokenizer."""

    @property
    def vocabulary(self) -> int:
        """The number of token ids, special ones included."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The id that the model wants before every text, or None when its tokenizer adds none by itself."""
        ...

    @property
    def separator_id(self) -> int | None:
        """The end-of-text id that stands between packed documents."""
        ...

    @property
    def has_chat_template(self) -> bool:
        """Whether the model was tuned to answer, and says how a conversation is written."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special tokens."""
        ...

    def encode_chat(self, request: str) -> list[int]:
        """The token ids of a conversation that begins with a person's request, up to where the model answers.

        Raises ModelError when the model has no chat template, or one that cannot be used.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD, special tokens show their names."""
        ...


# Chat models often declare the end of a turn as their end of sequence. What separated documents in pretraining is
# then still in the vocabulary, under one of these names.
_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>")


class HuggingFaceTokenizer:
    """A fast tokenizer of the Transformers library."""

    def __init__(self, wrapped: PreTrainedTokenizerBase) -> None:
        if not wrapped.is_fast:
            raise ModelError(
                f"the tokenizer of '{wrapped.name_or_path}' exists only in slow form ({type(wrapped).__name__}): "
                "a fast one (tokenizer.json) is needed; convert it with transformers.convert_slow_tokenizer"
            )
        self._wrapped = wrapped
        self._bos_id = _added_before_text(wrapped)
        self._separator_id = _end_of_text(wrapped)

    @classmethod
    def load(
        cls, name: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
    ) -> HuggingFaceTokenizer:
        """Load by name on the hub or from a local folder. Raises ModelError when there is none that can be used."""
        try:
            wrapped = AutoTokenizer.from_pretrained(
                str(name), revision=revision or "main", trust_remote_code=trust_remote_code, use_fast=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"no tokenizer can be loaded for '{name}' at revision '{revision or 'main'}': {first_line} "
                "Check the spelling and the network, or give a folder that holds tokenizer.json"
            ) from error
        return cls(cast(PreTrainedTokenizerBase, wrapped))

    @property
    def vocabulary(self) -> int:
        return len(self._wrapped)

    @property
    def bos_id(self) -> int | None:
        return self._bos_id

    @property
    def separator_id(self) -> int | None:
        return self._separator_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        return _ids(self._wrapped, list(texts), special=False)

    @property
    def has_chat_template(self) -> bool:
        return self._wrapped.chat_template is not None

    def encode_chat(self, request: str) -> list[int]:
        if not self.has_chat_template:
            raise _no_chat(self._wrapped.name_or_path)
        try:
            ids = self._wrapped.apply_chat_template(
                [{"role": "user", "content": request}], add_generation_prompt=True, return_dict=False
            )
        except Exception as error:  # a template is a program, and raises what it likes
            raise ModelError(
                f"the chat template of '{self._wrapped.name_or_path}' does not take a single request ({error}): "
                "let the model go on with a plain text instead"
            ) from error
        return cast(list[int], ids)

    def decode(self, ids: Sequence[int]) -> str:
        text = self._wrapped.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return cast(str, text)


def _no_chat(name: str) -> ModelError:
    return ModelError(f"'{name}' has no chat template: let it go on with a plain text instead")


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, special: bool) -> list[list[int]]:
    encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)
    return cast(list[list[int]], encoded["input_ids"])


def _added_before_text(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What the tokenizer does, which is not always what its configuration says."""
    (bare,), (full,) = (_ids(tokenizer, ["a"], special=special) for special in (False, True))
    return full[0] if full[:1] != bare[:1] else None


def _end_of_text(tokenizer: PreTrainedTokenizerBase) -> int | None:
    added: dict[str, int] = tokenizer.get_added_vocab()  # pyright: ignore[reportCallIssue, reportOptionalCall]
    for name in _END_OF_TEXT:
        if name in added:
            return added[name]
    return cast(int | None, tokenizer.eos_token_id)


class ByteTokenizer:
    """One token per byte of UTF-8, and an end-of-text token: a whole tokenizer for tests and tiny models."""

    _END = 256
    vocabulary = 257
    bos_id = None
    separator_id = _END
    has_chat_template = False

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def encode_chat(self, request: str) -> list[int]:
        raise _no_chat("tiny")

    def decode(self, ids: Sequence[int]) -> str:
        shown = b"".join(b"<end>" if id == self._END else bytes([id]) for id in ids)
        return shown.decode("utf-8", errors="replace")
