"""What is asked of a prompt: why this next token, and not that one.

V vocabulary, N windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from semascope import progress
from semascope.errors import ConfigError, DataError
from semascope.text import Tokenizer, token_text


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's token ids, a next token, and the one that it is compared with.

    Without a baseline the logit is compared with the mean over the vocabulary, as in `LanguageModel.promoted`: like a
    difference of two logits it changes with no constant that is added to all, and unlike a log-probability its gradient
    does not vanish where the model is certain.
    """

    prompt: tuple[int, ...]
    target: int
    baseline: int | None = None

    @classmethod
    def read(
        cls, tokenizer: Tokenizer, prompt: str, target: str, baseline: str | None = None, *, first_token: bool = False
    ) -> Self:
        """The question in words; the prompt begins as the model wants it.

        ``first_token``: of a target or baseline of several tokens, take the first. Raises DataError for an empty
        prompt, and ConfigError for a target or baseline that is not one token, or when both are the same.
        """
        if not prompt:
            raise DataError("the prompt is empty: give a text that the model is to go on with")
        [ids] = tokenizer.encode([prompt])
        bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]

        def one_token(role: str, text: str) -> int:
            found = _continuation(tokenizer, prompt, ids, text)
            if not found:
                raise ConfigError(f"the {role} is empty: give one token, such as ' Paris' with its space")
            if len(found) > 1:
                parts = ", ".join(repr(token_text(token, tokenizer)) for token in found)
                first = repr(token_text(found[0], tokenizer))
                if not first_token:
                    raise ConfigError(
                        f"the {role} {text!r} is {len(found)} tokens ({parts}), and the model predicts one at a time: "
                        f"give a single token, or let first-token take the first, {first}"
                    )
                progress.message(f"The {role} {text!r} is {len(found)} tokens; its first is {first}")
            return found[0]

        question = cls(
            (*bos, *ids), one_token("target", target), None if baseline is None else one_token("baseline", baseline)
        )
        if question.target == question.baseline:
            raise ConfigError(
                f"target and baseline are the same token, {token_text(question.target, tokenizer)!r}: give another "
                "baseline, or none"
            )
        return question

    @property
    def tokens_T(self) -> Tensor:
        """int64 [T]: the prompt."""
        return torch.tensor(self.prompt)

    def value(self, logits_NV: Tensor) -> Tensor:
        """[N]: the logit of the target less that of the baseline, or less the mean. Differentiable."""
        against_N = logits_NV.mean(dim=1) if self.baseline is None else logits_NV[:, self.baseline]
        return logits_NV[:, self.target] - against_N


def _continuation(tokenizer: Tokenizer, prompt: str, ids: Sequence[int], text: str) -> Sequence[int]:
    """The tokens of a text behind a prompt; by itself where the two would grow together."""
    [both] = tokenizer.encode([prompt + text])
    return both[len(ids) :] if both[: len(ids)] == list(ids) else tokenizer.encode([text])[0]
