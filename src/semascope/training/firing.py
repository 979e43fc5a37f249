"""When each feature last fired, in tokens: which ones are dead."""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.records import Codes


class FiringRecord:
    """Counts the tokens since each feature last had a positive activation."""

    def __init__(self, features: int, *, device: torch.device | str = "cpu") -> None:
        self.tokens_seen = 0
        self.last_fired_F = torch.zeros(features, dtype=torch.int64, device=device)

    def update(self, codes: Codes, rows: int | None = None) -> None:
        """Take note of a batch, of so many ``rows`` where others see some of them. No host synchronisation."""
        self.tokens_seen += rows or codes.n_rows
        fired_at_K = torch.where(codes.values > 0, self.tokens_seen, 0)
        self.last_fired_F.scatter_reduce_(0, codes.feature_ids, fired_at_K, "amax")

    def silent(self, for_tokens: int) -> Tensor:
        """int64 ids of the features that have not fired in the last ``for_tokens`` tokens."""
        return (self.tokens_seen - self.last_fired_F >= for_tokens).nonzero().flatten()
