"""Interventions as people write them, and as programs send them.

123=5x              clamp feature 123 to 5 times its maximum; 123=40 to an activation of 40
123+=2x  123-=2x    add twice its maximum, or take it away
123*=0.5            halve it
123=off             ablate it
… from 12           from position 12 of the text on; … from reply: in what the model writes
… where 45>0.2x     only at positions where feature 45 exceeds a fifth of its maximum
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from semascope.errors import ConfigError
from semascope.records import Condition, Intervention, Operation

_FORM = re.compile(
    r"#?(?P<feature>\d+)\s*(?P<sign>\+=|-=|\*=|=)\s*(?P<amount>\S+?)"
    r"(?:\s+from\s+(?P<start>\d+|reply))?"
    r"(?:\s+where\s+#?(?P<other>\d+)\s*>\s*(?P<above>\S+))?"
)
_OPERATIONS: dict[str, Operation] = {"=": "clamp", "+=": "add", "-=": "add", "*=": "scale"}
_EXPECTED = (
    "expected FEATURE=5x (times its maximum), FEATURE=40 (an activation), FEATURE+=2x, FEATURE*=0.5 or FEATURE=off, "
    "then perhaps 'from POSITION', 'from reply' or 'where FEATURE>0.2x'"
)


def parse_intervention(text: str) -> Intervention:
    """Read an intervention in this module's notation. Raises ConfigError for anything else."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"'{text}' is no intervention: {_EXPECTED}")
    feature, sign, amount = int(found["feature"]), found["sign"], found["amount"]
    start = "reply" if found["start"] == "reply" else int(found["start"] or 0)
    where = Condition(int(found["other"]), *_number(found["above"], text)) if found["other"] else None
    if sign == "=" and amount == "off":
        return Intervention(feature, "ablate", start=start, where=where)
    strength, in_maxima = _number(amount, text)
    strength = -strength if sign == "-=" else strength
    return Intervention(feature, _OPERATIONS[sign], strength, in_maxima or sign == "*=", start, where)


def _number(text: str, whole: str) -> tuple[float, bool]:
    """``"5x"`` is 5 maxima, ``"40"`` an activation of 40."""
    in_maxima = text.endswith(("x", "×"))
    try:
        return float(text.rstrip("x×")), in_maxima
    except ValueError:
        raise ConfigError(f"'{text}' in '{whole}' is not a number: {_EXPECTED}") from None


def intervention_text(intervention: Intervention) -> str:
    """An intervention in this module's notation, which `parse_intervention` reads."""
    one = intervention
    match one.op:
        case "clamp":
            amount = f"={_amount(one.strength, one.in_maxima)}"
        case "add":
            amount = f"{'-=' if one.strength < 0 else '+='}{_amount(abs(one.strength), one.in_maxima)}"
        case "scale":
            amount = f"*={one.strength:g}"
        case "ablate":
            amount = "=off"
    start = f" from {one.start}" if one.start else ""
    where = f" where {one.where.feature}>{_amount(one.where.above, one.where.in_maxima)}" if one.where else ""
    return f"{one.feature}{amount}{start}{where}"


def _amount(strength: float, in_maxima: bool) -> str:
    return f"{strength:g}{'x' if in_maxima else ''}"


def intervention_json(intervention: Intervention) -> dict[str, Any]:
    """An intervention as plain values."""
    return asdict(intervention)


def intervention_from_json(content: Mapping[str, Any]) -> Intervention:
    """Read what `intervention_json` gives; what is left out has its default. Raises ConfigError for anything else."""
    try:
        where = content.get("where")
        given: dict[str, Any] = {**content, "where": None if where is None else Condition(**where)}
        return Intervention(**given)
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"{content!r} is no intervention ({error}): expected feature, op ({', '.join(get_args(Operation))}), "
            "strength, in_maxima, start, where"
        ) from error
