"""What a run's dictionary sees in a text that somebody wrote.

T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.errors import InputError, ModelError
from semascope.records import Codes
from semascope.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Reading:
    """A text's tokens [T], and every activation on them, by position and the strongest first at each: the position,
    the feature and the value of each, [K] each.
    """

    tokens: tuple[int, ...]
    positions_K: NDArray[np.int64]
    features_K: NDArray[np.int64]
    values_K: NDArray[np.float32]

    def of(self, feature: int) -> NDArray[np.float32]:
        """[T]: the activation of one feature on each token."""
        values_T = np.zeros(len(self.tokens), np.float32)
        here_K = self.features_K == feature
        values_T[self.positions_K[here_K]] = self.values_K[here_K]
        return values_T


def text_tokens(run: RunFolder, text: str, *, most: int) -> tuple[int, ...]:
    """The tokens of a text, without loading the model. Raises InputError for no text, or one of more than ``most``."""
    tokens = tuple(run.tokenizer.encode([text])[0])
    if not tokens:
        raise InputError("the text is empty: write something")
    if len(tokens) > most:
        raise InputError(f"the text has {len(tokens):,} tokens, and at most {most:,} can be read at once: shorten it")
    return tokens


def beginning(run: RunFolder) -> int:
    """The token behind which a text is read: the one that begins texts, or else that separates them.

    Raises ModelError for a tokenizer that has neither.
    """
    tokenizer = run.tokenizer
    begin = tokenizer.separator_id if tokenizer.bos_id is None else tokenizer.bos_id
    if begin is None:
        raise ModelError(
            f"the tokenizer of '{run.config.model.name}' has no token that begins or ends texts, behind which a text "
            "could be read"
        )
    return begin


@torch.no_grad()
def read(run: RunFolder, tokens: tuple[int, ...]) -> Reading:
    """Run the model over a text and encode it. Raises ModelError for one that is longer than the model's context.

    The text stands behind the token that begins texts, or separates them, for dictionaries do not learn from the first
    position. Massive activations, from which they do not learn either, activate nothing.
    """
    steering = run.steering
    window_1T = torch.tensor([[beginning(run), *tokens]], device=run.model.device)
    x_TD = run.model.activations(window_1T, run.site)[0, 1:].float()
    moderate = (x_TD.norm(dim=1) <= steering.massive_above).nonzero().flatten()
    codes: Codes = steering.dictionary.encode(x_TD[moderate])
    active = codes.values > 0
    positions_K = moderate[codes.row_ids()][active].cpu().numpy()
    features_K, values_K = codes.feature_ids[active].cpu().numpy(), codes.values[active].float().cpu().numpy()
    order = np.lexsort((features_K, -values_K, positions_K))
    return Reading(tokens, positions_K[order], features_K[order], values_K[order])
