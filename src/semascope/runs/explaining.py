"""Why a run's model says a token: attribution to the features of its dictionary, and their ablation."""

from __future__ import annotations

from collections.abc import Generator

from semascope import attribution
from semascope.attribution import By, Explanation, Question
from semascope.runs.folder import RunFolder


def explaining(
    run: RunFolder,
    question: Question,
    *,
    by: By = "place",
    ablations: int = 1000,
    top: int = 20,
    seed: int = 0,
    positions_at_once: int | None = None,
) -> Generator[Explanation]:
    """Explanations of a next token by the features of a run, each of which has seen more ablations.

    The model runs in full precision, and is loaded a second time where the run has another. Arguments and errors are
    those of `attribution.explaining`.
    """
    model = run.source.exact_model
    return attribution.explaining(
        model,
        run.site,
        run.dictionary.to(model.device),
        question,
        by=by,
        ablations=ablations,
        top=top,
        seed=seed,
        output_site=run.output_site if run.config.output_site else None,
        recent_medians=run.saved.metadata.get("recent_medians", ()),
        positions_at_once=positions_at_once,
    )
