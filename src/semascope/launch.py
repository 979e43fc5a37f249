"""How this process was started: by itself, or by torchrun as one of several."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """This process among those that torchrun started. ``local_rank``: its number on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def launched() -> Launch:
    """What torchrun's environment variables say; without them a single process."""
    try:
        return Launch(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except KeyError:
        return Launch()
