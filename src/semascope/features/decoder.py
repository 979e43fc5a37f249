"""What the decoder alone says about features: which point the same way, and what they make the model say.

Both are products of all features with something large, and no F × F or F × V matrix is ever held. To find what is
nearest is what an encoder does: of many products of each row it keeps the few largest, and never writes the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.errors import NumericalError
from semascope.kernels import TopK, encode

CHUNK_ELEMENTS = 1 << 24
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Extremes:
    """The tokens that each direction raises most and lowers most, strongest first: ids and logits, [n, k] each."""

    promoted_nK: Tensor
    promoted_logits_nK: Tensor
    suppressed_nK: Tensor
    suppressed_logits_nK: Tensor


def unit_rows(W_dec_FD: Tensor) -> Tensor:
    """The decoder directions at length 1, in float32; a row of zeros stays zero.

    Raises NumericalError when a weight is not finite.
    """
    W_dec_FD = W_dec_FD.detach().float()
    if not bool(W_dec_FD.isfinite().all()):
        raise NumericalError("the decoder holds weights that are not finite: train the dictionary again")
    return torch.nn.functional.normalize(W_dec_FD, dim=1)


@torch.no_grad()
def neighbours(unit_FD: Tensor, features: range, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` features nearest to each of ``features`` by the cosine of their decoder directions.

    ``unit_FD`` as made by ``unit_rows``. Returns ids and cosines, [n, min(k, F - 1)] each, nearest first; a feature
    is not its own neighbour.
    """
    k = min(k, unit_FD.shape[0] - 1)
    ids: list[Tensor] = []
    cosines: list[Tensor] = []
    for rows in _parts(features, ROWS_AT_ONCE):
        # Of one more, the feature itself is left out; or the last, where twins of the feature come before it.
        ids_nK, cosines_nK = _largest_products(unit_FD[rows.start : rows.stop], unit_FD, k + 1)
        itself_n1 = torch.arange(rows.start, rows.stop, device=ids_nK.device)[:, None]
        nearest = cosines_nK.masked_fill(ids_nK == itself_n1, -torch.inf).topk(k)
        ids.append(ids_nK.gather(1, nearest.indices).cpu())
        cosines.append(nearest.values.clamp(-1, 1).cpu())
    return torch.cat(ids), torch.cat(cosines)


@torch.no_grad()
def nearest(directions_FD: Tensor, direction_D: Tensor, k: int) -> list[tuple[int, float]]:
    """The ``k`` features whose directions are nearest to one, with their cosines, nearest first."""
    unit_D = torch.nn.functional.normalize(direction_D.float(), dim=0)
    found = (unit_rows(directions_FD) @ unit_D).topk(min(k, len(directions_FD)))
    return list(zip(found.indices.tolist(), found.values.clamp(-1, 1).tolist(), strict=True))


@torch.no_grad()
def counterparts(unit_nD: Tensor, unit_FD: Tensor, k: int) -> Tensor:
    """Of each of n directions the ``k`` of F others nearest to it by cosine, [n, min(k, F)], nearest first.

    Both as made by ``unit_rows``.
    """
    k = min(k, unit_FD.shape[0])
    ids: list[Tensor] = []
    for rows_nD in unit_nD.split(ROWS_AT_ONCE):
        ids_nK, cosines_nK = _largest_products(rows_nD, unit_FD, k)
        ids.append(ids_nK.gather(1, cosines_nK.argsort(dim=1, descending=True)).cpu())
    return torch.cat(ids)


@torch.no_grad()
def cosines(unit_PD: Tensor, others_PD: Tensor) -> Tensor:
    """The cosine of each of P pairs of directions, [P], from -1 to 1; both as made by ``unit_rows``."""
    return (unit_PD * others_PD).sum(dim=1).clamp(-1, 1)


@torch.no_grad()
def chance_cosine(
    unit_nD: Tensor, unit_FD: Tensor, *, draws: int = 1_000, quantile: float = 0.99, seed: int = 0
) -> float:
    """How near the nearest of F directions is to a random direction, as a cosine: at most so much in 99 % of cases.

    The random directions have the second moments of the n ones: they point where those do, and mean nothing.
    """
    values_D, vectors_DD = torch.linalg.eigh((unit_nD.T @ unit_nD).double())
    root_DD = (vectors_DD * values_D.clamp(min=0).sqrt()).float().cpu()
    random_nD = torch.randn(draws, len(root_DD), generator=torch.Generator().manual_seed(seed)) @ root_DD.T
    random_nD = torch.nn.functional.normalize(random_nD, dim=1).to(unit_FD.device)
    _, best_n1 = _largest_products(random_nD, unit_FD, 1)
    return float(best_n1.quantile(quantile).clamp(0, 1))


@torch.no_grad()
def extremes(W_dec_FD: Tensor, features: range, logits: Callable[[Tensor], Tensor], k: int) -> Extremes:
    """The ``k`` tokens that each of ``features`` promotes most and suppresses most.

    ``logits`` takes directions [n, D] to what one unit of activation along them adds to the logits, [n, V].
    """
    found: list[Extremes] = []
    n_vocabulary = logits(W_dec_FD[:1]).shape[-1]
    for chunk in _parts(features, max(1, CHUNK_ELEMENTS // n_vocabulary)):
        logits_nV = logits(W_dec_FD[chunk.start : chunk.stop]).detach().float()
        high = logits_nV.topk(min(k, n_vocabulary))
        low = logits_nV.topk(min(k, n_vocabulary), largest=False)
        found.append(Extremes(high.indices.cpu(), high.values.cpu(), low.indices.cpu(), low.values.cpu()))
    return Extremes(
        torch.cat([one.promoted_nK for one in found]),
        torch.cat([one.promoted_logits_nK for one in found]),
        torch.cat([one.suppressed_nK for one in found]),
        torch.cat([one.suppressed_logits_nK for one in found]),
    )


def _largest_products(rows_nD: Tensor, W_FD: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of each row the ``k`` of F features with the largest products, in no order: ids and products, [n, k] each."""
    [(pattern, products_K)] = encode(rows_nD, None, W_FD, W_FD.new_zeros(len(W_FD)), [TopK(k)])
    return pattern.feature_ids.view(len(rows_nD), k), products_K.view(len(rows_nD), k)


def _parts(features: range, size: int) -> list[range]:
    return [features[start : start + size] for start in range(0, len(features), size)]
