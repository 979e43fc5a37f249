"""From the options of a command to the settings of a variant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from semascope.errors import ConfigError


def variant_settings(
    variant: str,
    *,
    l0: int | None = None,
    coefficient: float | None = None,
    matryoshka: bool = False,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """The settings of a variant, as its configuration reads them. Raises ConfigError for one that it does not have."""
    from semascope.sae import MATRYOSHKA_PREFIXES, VARIANTS

    if variant not in VARIANTS:
        raise ConfigError(f"there is no variant '{variant}': choose one of {', '.join(VARIANTS)}")
    config = VARIANTS[variant]
    settings: dict[str, Any] = {"variant": variant} | dict(_option(text, variant) for text in options)
    if coefficient is not None:
        if "coefficient" not in config.model_fields or "rho" in config.model_fields:
            raise ConfigError(f"--coefficient is a setting of l1, jumprelu and gated, and the variant is {variant}")
        if l0 is not None:
            raise ConfigError(
                "--l0 and --coefficient exclude each other: the coefficient follows from the L0 asked for"
            )
        settings |= {"coefficient": coefficient, "l0": None}
    if l0 is not None:
        settings["l0" if "l0" in config.model_fields else "k"] = l0
    if matryoshka:
        settings["prefixes"] = MATRYOSHKA_PREFIXES
    return settings


def _option(text: str, variant: str) -> tuple[str, Any]:
    """``"bandwidth=0.1"`` is a pair; values as in JSON, or plain words; ``none`` leaves a setting open."""
    from semascope.sae import VARIANTS

    name, equals, value = text.partition("=")
    known = sorted(VARIANTS[variant].model_fields.keys() - {"variant"})
    if not equals or name not in known:
        raise ConfigError(
            f"--option '{text}' is no setting of {variant}: expected NAME=VALUE with one of {', '.join(known)}"
        )
    try:
        return name, None if value.lower() == "none" else json.loads(value)
    except json.JSONDecodeError:
        return name, value
