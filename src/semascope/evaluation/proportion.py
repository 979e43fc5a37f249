"""Intervals of shares: how many of n independent units have something."""

from __future__ import annotations

import math

Z_95 = 1.959963985


def wilson_interval(found: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score (Wilson, 1927); 0 to 1 when nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share, z = found / n, Z_95
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - width), min(1.0, middle + width)


def difference_interval(found: int, n: int, other_found: int, other_n: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two independent shares (Newcombe, 1998, method 10)."""
    a, b = found / max(1, n), other_found / max(1, other_n)
    (a_low, a_high), (b_low, b_high) = wilson_interval(found, n), wilson_interval(other_found, other_n)
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)
