"""Which implementation of the kernels serves a tensor."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

from torch import Tensor

from semascope.kernels import cpu, reference

Precision = Literal["full", "fast"]
"""How the encoder's matrix product is computed: "full" in the type of the weights; "fast" in bfloat16 where the device
multiplies that in hardware. The bfloat16 product only proposes candidates, whose values are then computed exactly (see
`cpu_encode.encode`), on every device."""


def kernels_for(tensor: Tensor) -> ModuleType:
    """The fastest implementation for the tensor's device: `cpu`, `gpu` where there is Triton, else `reference`."""
    match tensor.device.type:
        case "cpu":
            return cpu
        case "cuda":
            return _of_gpus()
        case _:
            return reference


@cache
def _of_gpus() -> ModuleType:
    """Imported when it is first asked for; builds of PyTorch for GPUs bring Triton."""
    return reference if find_spec("triton") is None else importlib.import_module("semascope.kernels.gpu")
