"""What the catalog says of a feature."""

from __future__ import annotations

from dataclasses import dataclass

BY_HAND = "person"
"""Where a label comes from that somebody wrote; others name what made them."""


@dataclass(frozen=True, slots=True)
class Written:
    """A text, where it came from, and when it was written (UTC, ISO 8601)."""

    text: str
    source: str
    changed: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What was added to one feature; ``lists`` by name."""

    label: Written | None = None
    note: Written | None = None
    starred: bool = False
    lists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureList:
    """A list of features that somebody keeps."""

    name: str
    n_features: int
    created: str
