"""When each feature last fired, in tokens: which ones are dead."""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.records import Codes

# A token on which so many times as many features fire as usual counts for none of them: one of nine times the usual
# norm makes a quarter of a wide dictionary fire, and would keep it from being dead for as long as it takes.
CROWDED = 10.0


class FiringRecord:
    """Counts the tokens since each feature last had a positive activation, where not nearly everything has one."""

    def __init__(self, features: int, *, device: torch.device | str = "cpu") -> None:
        self.tokens_seen = 0
        self.last_fired_F = torch.zeros(features, dtype=torch.int64, device=device)

    def update(self, codes: Codes, rows: int | None = None) -> None:
        """Take note of a batch, of so many ``rows`` where others see some of them. No host synchronisation."""
        self.tokens_seen += rows or codes.n_rows
        counts_B = codes.row_offsets.diff()
        ordinary_B = counts_B <= CROWDED * max(1.0, len(codes.values) / codes.n_rows)
        fired_at_K = torch.where((codes.values > 0) & ordinary_B[codes.row_ids()], self.tokens_seen, 0)
        self.last_fired_F.scatter_reduce_(0, codes.feature_ids, fired_at_K, "amax")

    def silent(self, for_tokens: int) -> Tensor:
        """int64 ids of the features that have not fired in the last ``for_tokens`` tokens."""
        return (self.tokens_seen - self.last_fired_F >= for_tokens).nonzero().flatten()
