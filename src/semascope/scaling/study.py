"""A scaling study: a folder with a grid of dictionaries, what they measure, and the law in it.

scaling/mine/
  plan.json             what was asked
  activations/          that all are trained on
  held-out/             that all are measured on
  checkpoints/          of the budget in training
  f1024-l32-t…-r1/      the dictionaries, runs like any other (see `runs`)
  points.csv, .json     what each measures
  law.json              the law
  figures/, scaling.html
"""

from __future__ import annotations

import csv
import io
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Self

from semascope import progress
from semascope.activations import ActivationStore
from semascope.files import alone_in, read_json, write_atomically, write_json
from semascope.records import Site
from semascope.runs import Run, train_together
from semascope.scaling.fits import fit_joint
from semascope.scaling.frontier import law_at_l0
from semascope.scaling.law import Law, Point
from semascope.scaling.measure import MEASURES, law_is_about, measure
from semascope.scaling.page import write_page
from semascope.scaling.plan import FLOPS_FORMULA, Plan, ScalingConfig, flop, name_of, training_flops
from semascope.source import ActivationSource
from semascope.sweeps import Sweep

MEASURED = "held-out"


class Study:
    """The folder of a scaling study. `begin` makes one or goes on with it, `open` only reads."""

    def __init__(self, folder: Path, plan: Plan, source: ActivationSource, command: str | None = None) -> None:
        self.folder, self.plan, self.source, self.command = folder, plan, source, command

    @classmethod
    def begin(cls, folder: Path | str, asked: ScalingConfig, *, command: str | None = None) -> Self:
        """Plan a study; nothing is written yet. Raises ConfigError for what cannot be planned, and SiteError."""
        source = _source(asked)
        return cls(Path(folder), Plan.of(asked, source.model.width(source.sites[0])), source, command)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """A study that was begun. Raises DamagedError where there is none."""
        plan, command = Plan.read(Path(folder))
        return cls(Path(folder), plan, _source(plan.asked), command)

    @property
    def site(self) -> Site:
        """Where the activations are from."""
        return self.source.sites[0]

    def train(self) -> None:
        """Train and measure what is not there yet, budget by budget from the smallest; each on one pass over the store.

        Raises MismatchError where the folder has a dictionary of another configuration under a name of this plan, and
        UnavailableError while another process trains in it.
        """
        with alone_in(self.folder):
            self._train()

    def _train(self) -> None:
        asked = self.plan.asked
        sweep = Sweep.begin(self.folder, [cell.config for cell in self.plan.cells], name=name_of)
        self.plan.write(self.folder, self.command)
        store = self.source.store(self.folder / "activations", asked.stored_tokens)
        held_out = self.source.store(self.folder / MEASURED, asked.held_out_tokens, held_out=True)
        runs = {run.folder.name: run for run in sweep.runs}
        missing = [cell for cell in self.plan.cells if not runs[cell.name].trained]
        if len(missing) < len(runs):
            progress.message(f"Reusing {len(runs) - len(missing)} dictionaries in {self.folder}")
        started, left, computed = time.monotonic(), self.plan.engine_flops(missing), 0.0
        for budget in self.plan.budgets:
            if cells := [cell for cell in missing if cell.budget == budget]:
                minutes = (time.monotonic() - started) / computed * left / 60 if computed else None
                progress.message(
                    f"Budget {flop(budget)} FLOP: {len(cells)} dictionaries"
                    + ("" if minutes is None else f"; about {minutes:.0f} minutes left in all")
                )
                train_together({cell.name: runs[cell.name] for cell in cells}, store, self.folder / "checkpoints")
                left, computed = left - self.plan.engine_flops(cells), computed + self.plan.engine_flops(cells)
            self._measure([runs[cell.name] for cell in self.plan.of_budget(budget)], held_out)

    def _measure(self, runs: Sequence[Run], held_out: ActivationStore) -> None:
        missing = [run for run in runs if run.result(MEASURED) is None]
        if not missing:
            return
        with progress.task("Measure", total=len(missing), unit="dictionaries") as shown:
            for run in missing:
                run.dictionary.to(self.source.model.device)
                run.write_result(MEASURED, measure(run.saved, run.config.training.variant, held_out, self.site))
                run.__dict__.pop("saved", None)  # Only one dictionary at a time takes memory.
                shown.advance()

    def points(self) -> list[Point]:
        """What is measured so far, in the order of the plan."""
        found: list[Point] = []
        for cell in self.plan.cells:
            file = self.folder / cell.name / "evaluation" / f"{MEASURED}.json"
            if file.exists():
                training, measured = cell.config.training, read_json(file)
                found.append(
                    Point(
                        run=cell.name,
                        budget=cell.budget,
                        flops=training_flops(self.plan.width, training.features, training.tokens),
                        features=training.features,
                        tokens=training.tokens,
                        steps=training.steps,
                        learning_rate=cell.learning_rate,
                        rate_factor=cell.rate_factor,
                        asked_l0=training.variant.target_l0(),
                        **{name: measured[name] for name in MEASURES},
                    )
                )
        return found

    def fit(self) -> Law:
        """Fit the law to what is measured so far, and write it with its points."""
        plan, asked, points = self.plan, self.plan.asked, self.points()
        l0s = list(dict.fromkeys(cell.config.training.variant.target_l0() for cell in plan.cells))
        law = Law(
            model=asked.model,
            model_revision=self._revision(points),
            site=asked.site,
            width=plan.width,
            corpus=asked.corpus,
            variant=asked.variant,
            loss=law_is_about(asked.variant),
            budgets=plan.budgets,
            batch_tokens=asked.batch_tokens,
            stored_tokens=asked.stored_tokens,
            held_out_tokens=asked.held_out_tokens,
            flops_formula=FLOPS_FORMULA,
            points=points,
            missing=len(plan.cells) - len(points),
            laws=[
                law_at_l0(points, asked_l0=l0, budgets=plan.budgets, width=plan.width, batch_tokens=asked.batch_tokens)
                for l0 in l0s
            ],
            joint=fit_joint(points, seed=0) if len(l0s) > 1 else None,
            versions={name: version(name) for name in ("semascope", "torch", "scipy")}
            | {"python": platform.python_version()},
            command=self.command,
        )
        law.write(self.folder)
        write_points(self.folder, points)
        return law

    def report(self, law: Law) -> Path:
        """Draw a law: ``figures/``, and ``scaling.html`` with all there is to say."""
        return write_page(self.folder, law)

    def _revision(self, points: Sequence[Point]) -> str | None:
        """Which revision of the model the dictionaries are of, as they noted."""
        if not points:
            return self.plan.asked.model.revision
        return read_json(self.folder / points[0].run / "dictionary" / "cfg.json")["metadata"]["model_revision"]


def write_points(folder: Path, points: Sequence[Point]) -> None:
    """As ``points.csv`` and ``points.json``."""
    rows = [point.model_dump() for point in points]
    write_json(folder / "points.json", {"points": rows})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Point.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "points.csv", lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8"))


def _source(asked: ScalingConfig) -> ActivationSource:
    return ActivationSource(asked.model, asked.corpus, [Site.parse(asked.site)])
