"""What this machine's processors can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def has_bfloat16_matrix_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX)."""
    capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict[str, Any])
    return torch.backends.mkldnn.is_available() and bool(capabilities().get("amx_bf16", False))


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Whether a device, "auto" being the first GPU if there is one, multiplies bfloat16 matrices in hardware."""
    name = str(device)
    return name.startswith("cuda") or (name == "auto" and torch.cuda.is_available()) or has_bfloat16_matrix_units()
