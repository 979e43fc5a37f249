"""The report: a run at a glance, as one HTML file that needs nothing else."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from semascope import progress
from semascope.errors import InputError
from semascope.features import FeatureIndex
from semascope.files import write_atomically
from semascope.report.blocks import LEVELS, feature_block, visible_token
from semascope.report.figures import curve, density_histogram
from semascope.report.numbers import count, percent, signed, significant
from semascope.text import Tokenizer

# What of the card says how the run was made, and not what it is.
_FOOTER = ("Command", "Seed", "Made with")


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure of training with its title and the value that it ends at."""

    title: str
    figure: Markup
    last: float


def write_report(
    path: Path,
    *,
    title: str,
    card: Mapping[str, str],
    metrics: Sequence[Mapping[str, float]],
    evaluation: Mapping[str, Any] | None,
    concepts: Sequence[Mapping[str, Any]],
    index: FeatureIndex,
    tokenizer: Tokenizer,
    n_features: int = 100,
    seed: int = 0,
) -> None:
    """Write what is known of a run as one HTML file, atomically.

    Args:
        card: what the run is, as labels and values; "Command", "Seed" and "Made with" go to the foot of the page.
        metrics: the lines of ``metrics.jsonl``.
        evaluation: ``ReconstructionReport.as_json()``; None when there is no evaluation.
        concepts: ``ConceptScore.as_json()`` of each; empty when the text carries no labels.
        n_features: how many features to show. The features of concepts come first, and all of them are shown; the
            others are drawn at random, by ``seed``, from those that fire.

    Raises InputError when ``n_features`` is negative or a concept names a feature that the index does not have.
    """
    if n_features < 0:
        raise InputError(f"n_features is {n_features}: expected 0 or more")
    density_F = index.densities()
    alive = np.flatnonzero(density_F).tolist()
    densities = density_F[alive].tolist()
    told: dict[int, list[Mapping[str, Any]]] = {}
    for concept in concepts:
        told.setdefault(concept["feature"], []).append(concept)
    others = [feature for feature in alive if feature not in told]
    drawn = sorted(random.Random(seed).sample(others, min(max(n_features - len(told), 0), len(others))))

    blocks = []
    with progress.task("Report", total=len(told) + len(drawn), unit="features") as shown:
        for feature in [*told, *drawn]:
            blocks.append(feature_block(index, feature, tokenizer, told.get(feature, [])))
            shown.advance()
    html = (
        environment()
        .get_template("run.html")
        .render(
            title=title,
            kicker="Semascope report",
            card={label: value for label, value in card.items() if label not in _FOOTER},
            footer={label: card[label] for label in _FOOTER if label in card},
            curves=_curves(metrics),
            evaluation=evaluation,
            concepts=concepts,
            index=index,
            densities=density_histogram("density", densities, description="Histogram of feature densities"),
            median_density=sorted(densities)[len(densities) // 2],
            blocks=blocks,
            n_drawn=len(drawn),
            seed=seed,
            levels=LEVELS,
        )
    )
    write_atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8", errors="replace"))


def _curves(metrics: Sequence[Mapping[str, float]]) -> list[Curve]:
    curves: list[Curve] = []
    for key, title in (("loss", "Loss"), ("explained_variance", "Explained variance"), ("l0", "L0")):
        lines = [line for line in metrics if key in line]
        if len(lines) > 1:
            tokens, values = [line["tokens"] for line in lines], [line[key] for line in lines]
            figure = curve(key, tokens, values, description=f"{title} against tokens")
            curves.append(Curve(title, figure, values[-1]))
    return curves


def environment() -> Environment:
    """The templates of this room, with the filters for numbers."""
    environment = Environment(
        loader=PackageLoader("semascope", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (significant, signed, percent, count, visible_token):
        environment.filters[function.__name__] = function
    return environment
