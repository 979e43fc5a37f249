"""Choosing the next token, with chance that two texts can share.

R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.errors import ConfigError

# The nucleus is looked for among so many tokens first: sorting a whole vocabulary takes longer than a small model.
_LIKELY = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """How texts are written: up to ``max_tokens`` tokens in each of ``samples`` texts.

    ``temperature``: 0 always takes the likeliest token. ``top_p``: only the likeliest tokens that together have this
    probability. ``seed``: the same seed gives the same texts. Raises ConfigError for what cannot be.
    """

    max_tokens: int = 60
    temperature: float = 0.7
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.samples < 1:
            raise ConfigError(f"{self.samples} texts of {self.max_tokens} tokens cannot be written: at least 1 of each")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"{self.temperature} is no temperature: expected 0 (the likeliest token) or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}: expected a probability above 0, up to 1 (every token)")


class Chance:
    """The chance by which one text is sampled: the same for all variants of it, so that they differ by cause only.

    At every step each token of the vocabulary gets a number from a standard exponential distribution, and the token
    with the largest ``p / number`` is taken, which is a sample from p (the Gumbel-max trick). Two distributions that
    are alike then mostly give the same token.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], sample: int, device: torch.device) -> None:
        origin = f"{sampling.seed} {sample} {list(prompt)}".encode()
        seed = int.from_bytes(hashlib.blake2b(origin, digest_size=7).digest())
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self, vocabulary: int) -> Tensor:
        """The logarithms [V] of this step's numbers."""
        numbers_V = torch.empty(vocabulary, device=self._generator.device)
        return numbers_V.exponential_(generator=self._generator).log_()


def next_tokens(logits_RV: Tensor, sampling: Sampling, log_numbers_RV: Tensor | None) -> Tensor:
    """int64 [R]: the next token of each row. ``log_numbers_RV``: of each row's chance; None at temperature 0."""
    logits_RV = logits_RV.float()
    if log_numbers_RV is None:
        return logits_RV.argmax(dim=1)
    log_p_RV = (logits_RV / sampling.temperature).log_softmax(dim=1)
    if sampling.top_p < 1:
        log_p_RV = log_p_RV.masked_fill(log_p_RV < _least_of_nucleus(log_p_RV, sampling.top_p), -torch.inf)
    return (log_p_RV - log_numbers_RV).argmax(dim=1)


def _least_of_nucleus(log_p_RV: Tensor, top_p: float) -> Tensor:
    """[R, 1]: the log-probability of the last token that is needed to reach ``top_p``."""
    for likely in (_LIKELY, log_p_RV.shape[1]):
        sorted_RL = log_p_RV.topk(min(likely, log_p_RV.shape[1]), dim=1).values
        reached_RL = sorted_RL.exp().cumsum(dim=1) >= top_p
        if bool(reached_RL[:, -1].all()):
            return sorted_RL.gather(1, reached_RL.int().argmax(dim=1, keepdim=True))
    return torch.full_like(log_p_RV[:, :1], -torch.inf)  # The sum of all is below by rounding only.
