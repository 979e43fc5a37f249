"""Numbers as people read them."""

from __future__ import annotations

import math

_NARROW_SPACE = "\u202f"  # non-breaking


def significant(value: float) -> str:
    """Three significant digits, without an exponent where that stays short: ``0.00120``, ``45.6``, ``12,346``."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "undefined"
    shown = f"{value:,.0f}" if 99.95 <= abs(value) < 1e9 else f"{value:#.3g}"
    return shown.replace("-", "−")


def signed(value: float) -> str:
    """Three significant digits with the sign, also of a positive number: ``+1.23``."""
    return f"+{significant(value)}" if value > 0 else significant(value)


def percent(share: float) -> str:
    """A share of 1 as a percentage: ``12.3 %``; small ones keep two significant digits: ``0.0045 %``."""
    if not math.isfinite(share):
        return "undefined"
    value = 100 * share
    shown = f"{value:.1f}" if value == 0 or abs(value) >= 0.95 else f"{value:.2g}"
    return f"{shown.replace('-', '−')}{_NARROW_SPACE}%"


def count(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}"
