"""Which implementation of the kernels serves a tensor."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

from torch import Tensor

from semascope.kernels import cpu, reference

Precision = Literal["full", "fast"]
"""How the encoder's matrix product is computed: "full" in the type of the weights; "fast" in bfloat16 where the device
multiplies that in hardware. On a CPU the bfloat16 product only proposes candidates, whose values are then computed
exactly (see `cpu.encode`)."""


def kernels_for(tensor: Tensor) -> ModuleType:
    """The fastest implementation for the tensor's device: `cpu`, else the `reference`."""
    return cpu if tensor.device.type == "cpu" else reference
