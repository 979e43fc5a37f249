"""What `semascope concepts` and `semascope completeness` write, in small: for tests of whatever reads it."""

from __future__ import annotations

from typing import Any

NAMES = ("Argon", "Neon", "Iron", "Gold", "Tin", "Zinc", "Lead", "Boron")


def concept(name: str, feature: int, *, exists: bool = True, specificity: float | None = 0.8, auc: float = 0.95) -> Any:
    """The score of a concept."""
    return {
        "concept": name, "label": name.lower(), "feature": feature, "auc": auc, "interval": [auc - 0.1, auc],
        "probe_auc": 0.97, "untrained_auc": 0.7, "random_feature_auc": 0.5, "positives": 40, "negatives": 50, "seed": 0,
        "exists": exists, "p_value": 1e-6, "features_tried": 60, "specificity": specificity, "sister_texts": 20,
    }  # fmt: skip


def completeness(kind: str, *, features: int, present: int) -> Any:
    """Names of which the most frequent ``present`` have a feature, in 10,000 tokens; the first never occurs."""
    names = [
        {
            "name": name, "count": 10 * number, "per_million": 1000.0 * number, "feature": number, "auc": 0.99,
            "cosine": 0.4, "untrained_cosine": 0.2, "present": number >= len(NAMES) - present,
        }
        for number, name in enumerate(NAMES)
    ]  # fmt: skip
    fit = {"slope": 2.0, "middle": 1.0} if present else None
    return {
        "kind": kind, "features": features, "tokens": 10_000, "names": names, "fit": fit,
        "share": present / len(NAMES),
    }  # fmt: skip
