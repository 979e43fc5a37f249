"""Selection where each process has a part of the features: among the candidates of all, by their values alone.

Every process proposes as many candidates as could stay if all of them were its own. Only their values are exchanged,
never ids or rows of weights: each process sees which of its own are among the largest of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from semascope.kernels import BatchTopK, Pattern, Pick, Precision, Selection, TopK, kernels_for
from semascope.team import Team

_Picked = tuple[Pattern, Tensor]


def pick_among_all(team: Team, features: int) -> Pick:
    """What `semascope.kernels.encode` takes as ``pick``: the same entries that one process would keep.

    ``features``: of all processes together. Equal values go to the lower feature.
    """

    def pick(
        x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection], precision: Precision
    ) -> list[_Picked]:
        def encode(chosen: Sequence[Selection]) -> list[_Picked]:
            return kernels_for(x_BD).encode(x_BD, W_FD, b_F, chosen, precision) if chosen else []

        rows = team.total_rows(len(x_BD)) if any(isinstance(s, BatchTopK) for s in selections) else len(x_BD)
        found = iter(encode([_own(s, len(x_BD), rows) for s in selections if not _lists_nothing(s)]))
        kept: list[_Picked] = []
        for selection in selections:
            pattern, pre_K = _nothing(x_BD, W_FD) if _lists_nothing(selection) else next(found)
            match selection:
                case TopK(k, among_F):
                    pre_BC = pre_K.view(len(x_BD), pre_K.shape[0] // len(x_BD))
                    largest_part = -(-features // team.feature_parts)
                    most = min(k, largest_part) if among_F is None else max(team.by_features(pre_BC.shape[1]))
                    kept.append(_largest(team, k, pattern, pre_BC, most))
                case BatchTopK(k, likely):
                    if likely > 0 and team.total(len(pre_K)) < k * rows:
                        # The guess was too high: all look again without one.
                        [(pattern, pre_K)] = encode([_own(BatchTopK(k), len(x_BD), rows)])
                    kept.append(_largest_of_batch(team, k * rows, pattern, pre_K))
                case _:
                    kept.append((pattern, pre_K))
        return kept

    return pick


def _own(selection: Selection, own_rows: int, rows: int) -> Selection:
    """What this process selects among its own features and rows: at least what it has of the final selection."""
    if not isinstance(selection, BatchTopK):
        return selection
    return replace(selection, k=-(-selection.k * rows // own_rows), below_too=bool(selection.likely == 0))


def _largest(team: Team, k: int, pattern: Pattern, pre_BC: Tensor, most: int) -> _Picked:
    """The entries that are among the k largest of their row; everyone proposes ``most`` a row, or fewer."""
    padded_BC = pre_BC.new_full((pattern.n_rows, most), -torch.inf)
    padded_BC[:, : pre_BC.shape[1]] = pre_BC
    all_PBC = team.gather_features(padded_BC)
    all_BA = all_PBC.transpose(0, 1).flatten(1)
    if all_BA.shape[1] <= k:
        return pattern, pre_BC.flatten()
    least_B1 = all_BA.topk(k, dim=1).values[:, -1:]
    # Of those that equal the least, as many as there is room for, in the order of the features.
    room_B1 = k - (all_BA > least_B1).sum(dim=1, keepdim=True)
    before_B1 = (all_PBC[: team.feature_part] == least_B1).sum(dim=(0, 2))[:, None]
    equal_BC = pre_BC == least_B1
    fits_BC = before_B1 + equal_BC.cumsum(dim=1) <= room_B1
    # What is not a number stays, for the trainer to see.
    kept_K = ((pre_BC > least_B1) | (equal_BC & fits_BC) | pre_BC.isnan()).flatten()
    return pattern.where(kept_K), pre_BC.flatten()[kept_K]


def _largest_of_batch(team: Team, wanted: int, pattern: Pattern, pre_K: Tensor) -> _Picked:
    """The entries that are among the ``wanted`` largest of the whole batch."""
    all_K = team.gather_all(pre_K)
    if len(all_K) <= wanted:
        return pattern, pre_K
    kept_K = pre_K >= all_K.kthvalue(len(all_K) - wanted + 1).values
    return pattern.where(kept_K), pre_K[kept_K]


def _lists_nothing(selection: Selection) -> bool:
    return isinstance(selection, TopK) and selection.among_F is not None and not len(selection.among_F)


def _nothing(x_BD: Tensor, W_FD: Tensor) -> _Picked:
    """No entries."""
    offsets = torch.zeros(len(x_BD) + 1, dtype=torch.int64, device=x_BD.device)
    return Pattern(offsets, offsets[:0], len(W_FD)), x_BD.new_empty(0)
