"""Compiling loops with Numba: each works on the rows ``first`` to ``last`` of its arrays.

Arrays are C-contiguous. Loops are written for LLVM's vectoriser: inner loops run over contiguous numbers, sums may be
reordered, and comparisons keep the meaning of NaN (it is never larger).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.extending import overload

Loop = TypeVar("Loop", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]


def compiled(function: Loop) -> Loop:
    """Compile at the first call, keep the machine code on disk, release the GIL."""
    # As in NumPy, a division by zero is infinite: looking for it would keep loops from being vectorised.
    jit = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
    return cast(Loop, jit(function))


def number(value):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations included
    """What an element of an array of pre-activations stands for: uint16 holds the bits of a bfloat16."""
    raise NotImplementedError("only inside compiled loops")


@overload(number, inline="always")
def _number(value):  # type: ignore[no-untyped-def]
    if value == numba.types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)  # pyright: ignore[reportUnknownLambdaType]
    return lambda value: value  # pyright: ignore[reportUnknownLambdaType]
