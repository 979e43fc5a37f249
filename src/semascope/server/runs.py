"""The served runs, and what is known of one as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from semascope.report import averaged, density_bins
from semascope.runs import card
from semascope.server.parameters import Run, Runs
from semascope.server.problems import problems
from semascope.server.served import ServedRun
from semascope.server.shown import Number

router = APIRouter(tags=["runs"])


class RunSummary(BaseModel):
    """A served run. ``name`` is what addresses call it; ``output_site`` of a transcoder alone."""

    name: str
    model: str
    site: str
    output_site: str | None
    variant: str
    n_features: int
    n_alive: int
    trained_tokens: int
    indexed_tokens: int


class Evaluation(BaseModel):
    """How good the dictionary is, on held-out text; cross-entropies and KL in nats a token, intervals 95 %."""

    explained_variance: Number
    explained_variance_interval: tuple[Number, Number]
    normalized_mse: Number
    l0: Number
    ce_clean: Number
    ce_spliced: Number
    ce_mean_ablated: Number
    ce_recovered: Number
    ce_recovered_interval: tuple[Number, Number]
    kl: Number
    dead_fraction: Number
    dead_counted_over_tokens: int
    tokens: int
    ce_tokens: int


class Curve(BaseModel):
    """A quantity of training against the tokens trained on; averages of neighbours where there are many points."""

    name: str
    tokens: list[float]
    values: list[Number]


class DensityHistogram(BaseModel):
    """How many of the features that fire lie in each bin of density; ``edges``: decimal exponents, one more."""

    counts: list[int]
    edges: list[float]
    n_dead: int


class Concept(BaseModel):
    """How well the best feature for a concept ranks texts that did not choose it.

    ``exists``: by AUC, by a test that counts the features tried, and beside the untrained dictionary. ``probe_auc``:
    difference of means on the raw activations; ``untrained_auc``: the best feature of an untrained dictionary.
    ``specificity``: AUC against neighbouring concepts.
    """

    concept: str
    feature: int
    auc: float
    interval: tuple[float, float]
    probe_auc: float
    untrained_auc: float
    positives: int
    negatives: int
    exists: bool
    specificity: float | None


class ConceptSuite(BaseModel):
    """The concepts that were scored together."""

    name: str
    concepts: list[Concept]


class IndexSize(BaseModel):
    """What the feature index covers."""

    n_tokens: int
    n_windows: int
    n_activations: int


class RunOverview(RunSummary):
    """A run as a whole. ``card``: what it is, as labels and values for people."""

    card: dict[str, str]
    evaluation: Evaluation | None
    training: list[Curve]
    density: DensityHistogram
    concepts: list[ConceptSuite]
    index: IndexSize
    n_labelled: int
    n_starred: int


@router.get("/runs")
def list_runs(served: Runs) -> list[RunSummary]:
    """The served runs."""
    return [RunSummary(**_summary(run)) for run in served]


@router.get("/runs/{run}", responses=problems(404))
def get_run(run: Run) -> RunOverview:
    """A run as a whole: what it is, how good it is, how training went, what it knows."""
    evaluation = run.run.result("reconstruction")
    density_F = run.index.densities()
    counts, edges = density_bins(density_F[density_F > 0])
    return RunOverview(
        **_summary(run),
        card=card(run.run),
        evaluation=Evaluation.model_validate(evaluation) if evaluation else None,
        training=_curves(run),
        density=DensityHistogram(
            counts=counts.tolist(), edges=edges.tolist(), n_dead=run.index.n_features - run.index.n_alive
        ),
        concepts=[
            ConceptSuite(name=name, concepts=[Concept.model_validate(score) for score in scores])
            for name, scores in run.suites.items()
        ],
        index=IndexSize(
            n_tokens=run.index.n_tokens, n_windows=run.index.n_windows, n_activations=run.index.n_activations
        ),
        n_labelled=len(run.catalog.labelled()),
        n_starred=len(run.catalog.starred()),
    )


def _summary(run: ServedRun) -> Mapping[str, Any]:
    config = run.run.config
    return {
        "name": run.name,
        "model": config.model.name,
        "site": config.site,
        "output_site": config.output_site,
        "variant": config.training.variant.variant,
        "n_features": run.index.n_features,
        "n_alive": run.index.n_alive,
        "trained_tokens": config.training.tokens,
        "indexed_tokens": run.index.n_tokens,
    }


def _curves(run: ServedRun) -> list[Curve]:
    metrics = run.run.metrics
    names = [name for name in (metrics[0] if metrics else ()) if name not in ("step", "tokens")]
    curves: list[Curve] = []
    for name in names:
        lines = [line for line in metrics if name in line]
        tokens, values = averaged([line["tokens"] for line in lines]), averaged([line[name] for line in lines])
        curves.append(Curve(name=name, tokens=tokens.tolist(), values=values.tolist()))
    return curves
