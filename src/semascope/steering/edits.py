"""Interventions on features, carried out on activations.

R rows, T positions, D and O widths at the site that is read and at the one that is changed (the same one but for
transcoders), n features that the interventions name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.errors import ConfigError
from semascope.records import Condition, Intervention, Operation
from semascope.sae import SparseAutoencoder


@dataclass(frozen=True, slots=True)
class _Step:
    """An intervention with numbers in place of multiples, and columns in place of features."""

    column: int
    change: Callable[[Tensor], Tensor]
    reads: bool
    start: int
    where: tuple[int, float] | None


class Edits:
    """The interventions of several variants of the same texts: of R rows the first R / V are the first variant's.

    The dictionary splits an activation into ``SAE(x)`` and an error, and interventions change codes: the activation
    becomes ``SAE'(x) + (x − SAE(x))``, which is ``x + Σ_i (f'_i − f_i) · W_dec_i`` over the features named (of a
    transcoder, x at the site that it predicts). So the error stays, and nothing else has to be computed. Interventions
    on one feature follow each other in the order given; conditions look at what the model has by itself. Position 0 and
    massive activations, which the dictionary has never learned, stay as they are.

    Raises ConfigError for a feature that the dictionary does not have, or a multiple of an unknown maximum.
    """

    def __init__(
        self,
        dictionary: SparseAutoencoder,
        maxima_F: Tensor | None,
        variants: Sequence[Sequence[Intervention]],
        *,
        reply_start: int,
        massive_above: float,
    ) -> None:
        self._dictionary, self._maxima_F, self._massive_above = dictionary, maxima_F, massive_above
        named = [one.feature for variant in variants for one in variant]
        named += [one.where.feature for variant in variants for one in variant if one.where]
        self._columns = {feature: column for column, feature in enumerate(sorted(set(named)))}
        for feature in self._columns:
            if feature >= dictionary.features:
                raise ConfigError(
                    f"there is no feature {feature}: the dictionary has features 0 to {dictionary.features - 1}"
                )
        self._variants = [[self._step(one, reply_start) for one in variant] for variant in variants]
        self._features_n = torch.tensor(list(self._columns), dtype=torch.int64, device=dictionary.W_dec_FO.device)
        self._W_dec_nO = dictionary.W_dec_FO.detach()[self._features_n]

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return any(self._variants)

    @torch.no_grad()
    def apply(self, read_RTD: Tensor, changed_RTO: Tensor, first_position: int) -> Tensor:
        """The activations to go on with, from those at both sites and the position of the first of T."""
        per_variant = len(read_RTD) // len(self._variants)
        out_RTO = changed_RTO.clone()
        for number, steps in enumerate(self._variants):
            if steps:
                rows = slice(number * per_variant, (number + 1) * per_variant)
                out_RTO[rows] += self._change(steps, read_RTD[rows], first_position).to(out_RTO.dtype)
        return out_RTO

    def _change(self, steps: Sequence[_Step], x_RTD: Tensor, first_position: int) -> Tensor:
        x_RTD = x_RTD.float()
        old_RTn = x_RTD.new_zeros(*x_RTD.shape[:2], len(self._columns))
        if any(step.reads for step in steps):
            old_RTn = self._dictionary.encode_some(x_RTD.flatten(0, 1), self._features_n).view_as(old_RTn)
        new_RTn = old_RTn.clone()
        positions_T = torch.arange(first_position, first_position + x_RTD.shape[1], device=x_RTD.device)
        known_RT = (positions_T > 0) & (x_RTD.norm(dim=2) <= self._massive_above)
        for step in steps:
            here_RT = known_RT & (positions_T >= step.start)
            if step.where is not None:
                column, above = step.where
                here_RT = here_RT & (old_RTn[..., column] > above)
            value_RT = new_RTn[..., step.column]
            new_RTn[..., step.column] = torch.where(here_RT, step.change(value_RT), value_RT)
        return (new_RTn - old_RTn) @ self._W_dec_nO

    def _step(self, one: Intervention, reply_start: int) -> _Step:
        amount = self._amount(one.feature, one.strength, one.in_maxima and one.op in ("clamp", "add"))
        start = reply_start if one.start == "reply" else one.start
        reads = one.op != "add" or one.where is not None
        where = None if one.where is None else self._condition(one.where)
        return _Step(self._columns[one.feature], _change_of(one.op, amount), reads, start, where)

    def _condition(self, where: Condition) -> tuple[int, float]:
        return self._columns[where.feature], self._amount(where.feature, where.above, where.in_maxima)

    def _amount(self, feature: int, strength: float, in_maxima: bool) -> float:
        if not in_maxima:
            return float(strength)
        if self._maxima_F is None:
            raise ConfigError(
                f"{strength:g} times the maximum of feature {feature} is not known without a feature index: build it, "
                "or give the strength as an activation"
            )
        maximum = float(self._maxima_F[feature])
        if maximum <= 0 and strength:
            raise ConfigError(
                f"feature {feature} never fires on the text of the index, so that {strength:g} times its maximum is "
                "nothing: choose another feature, or give the strength as an activation"
            )
        return strength * maximum


def _change_of(op: Operation, amount: float) -> Callable[[Tensor], Tensor]:
    match op:
        case "clamp":
            return lambda value: torch.full_like(value, amount)
        case "add":
            return lambda value: value + amount
        case "scale":
            return lambda value: value * amount
        case "ablate":
            return torch.zeros_like
