"""Option values that people write in short: 8192, 16k, 2M."""

from __future__ import annotations

import math
import re

import typer

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}


def whole_number(text: str) -> int:
    """``"0"`` is 0."""
    if not text.isdecimal():
        raise typer.BadParameter(f"'{text}' is not a whole number")
    return int(text)


def each(text: str) -> list[str]:
    """``"10, 15"`` is ``["10", "15"]``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise typer.BadParameter(f"'{text}' is not a list: expected values with commas between them, such as 16,32,64")
    return parts


def count(text: str | int) -> int:
    """``"2M"`` is 2,000,000; also k and G (or B), and plain numbers with or without commas (defaults are numbers)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgb]?)", str(text).replace(",", "").replace("_", "").lower())
    if not match or (number := round(float(match[1]) * _UNITS[match[2]])) < 1:
        raise typer.BadParameter(f"'{text}' is not a count: expected a number above 0 such as 8192, 16k or 2M")
    return number


def number(text: str) -> float:
    """``"2e12"`` is 2,000,000,000,000.0; a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"'{text}' is not a number above 0, such as 2e12 or 0.5")
    return value
