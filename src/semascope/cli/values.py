"""Option values that people write in short: 8192, 16k, 2M."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}


def count(text: str | int) -> int:
    """``"2M"`` is 2,000,000; also k and G (or B), and plain numbers with or without commas (defaults are numbers)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgb]?)", str(text).replace(",", "").replace("_", "").lower())
    if not match or (number := round(float(match[1]) * _UNITS[match[2]])) < 1:
        raise typer.BadParameter(f"'{text}' is not a count: expected a number above 0 such as 8192, 16k or 2M")
    return number
