"""What there is to spend on a dictionary, as people write it: ``1e17``, ``30min``, ``8xH100:24h``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from semascope.errors import ConfigError
from semascope.estimate import HERE, known_gpu

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_MOST_PROCESSES = 100_000


@dataclass(frozen=True, slots=True)
class Budget:
    """``flops`` of training as the field counts them (`plan`), or ``seconds`` of a whole `semascope train`.

    It is spent by ``processes`` that each have ``hardware``: 'here', this machine, or a GPU by its name.
    """

    flops: float | None
    seconds: float | None
    hardware: str = HERE
    processes: int = 1

    @classmethod
    def parse(cls, text: str, hardware: str | None = None) -> Self:
        """Read a budget, and on what it is spent where it does not say so itself.

        Raises ConfigError for what is no budget, for hardware without figures, and for hardware named twice.
        """
        named, colon, amount = text.rpartition(":")
        if colon and hardware is not None:
            raise ConfigError(f"the budget '{text}' names its hardware, and --hardware {hardware} another: give one")
        name, processes = _machines(named if colon else hardware or HERE)
        flops, seconds = _amount(amount, text)
        return cls(flops, seconds, name, processes)

    @property
    def measured(self) -> bool:
        """Whether the clock of this machine decides what it buys, which is never twice quite the same."""
        return self.seconds is not None and self.hardware == HERE


def _amount(amount: str, text: str) -> tuple[float | None, float | None]:
    """FLOP or seconds; the other is None."""
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*(s|min|h|d)?", amount.strip().lower())
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or not 0 < number < math.inf:
        raise ConfigError(
            f"'{text}' is no budget: expected FLOP (1e17), a time on this machine (90s, 30min, 2h, 1d), or a time on "
            "GPUs (8xH100:24h)"
        )
    return (number, None) if match[2] is None else (None, number * _SECONDS[match[2]])


def _machines(text: str) -> tuple[str, int]:
    """``8xH100`` is 8 of ``h100``."""
    match = re.fullmatch(r"(?:(\d+)\s*[x×])?\s*(.*)", text.strip().lower())
    assert match
    count, name = int(match[1] or 1), match[2]
    if name == HERE:
        if match[1]:
            raise ConfigError(f"'{text}': this machine is measured with one process; name GPUs, such as 8xH100")
        return HERE, 1
    if not 1 <= count <= _MOST_PROCESSES:
        raise ConfigError(f"'{text}': {count} GPUs cannot be: expected 1 to {_MOST_PROCESSES:,}")
    known_gpu(name)
    return name, count
