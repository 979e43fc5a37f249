"""A law as a page, and its figures as files."""

from __future__ import annotations

from pathlib import Path

from semascope.report import Section, count, percent, significant, write_figures_page
from semascope.scaling.figures import drawings
from semascope.scaling.law import Fit, Law, LawAtL0, Optimum, Value
from semascope.scaling.plan import flop

PAGE, FIGURES = "scaling.html", "figures"

_NOTHING = "–"


def write_page(folder: Path, law: Law) -> Path:
    """Write ``scaling.html``, and each figure as PNG and SVG in ``figures/``."""
    sections: list[Section] = []
    for laws in law.laws:
        figures = drawings(law, laws)
        for _, drawing in figures:
            drawing.save(folder / FIGURES)
        l0 = f", L0 {laws.asked_l0:g}" if laws.asked_l0 is not None else ""
        sections += [
            Section(
                f"What a budget buys{l0}",
                "The best dictionary of each budget lies between wide ones trained on few tokens and narrow ones "
                "trained on many. Dots are optima with their 95 % intervals, black lines the laws with theirs.",
                figures=figures,
                table=[("Budget, FLOP", "Features", "Steps", "Learning rate", "Loss", "Explained variance", "Dead"),
                       *map(_optimum, laws.optima)],
                notes=laws.remarks,
            ),
            Section(f"Laws{l0}", table=[("Law", "Formula", "Exponent, 95 % interval", "Fitted to"), *_laws(laws)]),
        ]  # fmt: skip
    if law.joint:
        sections.append(_joint(law))
    sections.append(_points(law))
    missing = f" {law.missing} dictionaries of the plan are not trained yet." if law.missing else ""
    page = folder / PAGE
    write_figures_page(
        page,
        title=f"{law.model.name}, {law.site}",
        kicker="Semascope scaling laws",
        lead=f"{len(law.points)} dictionaries ({law.variant.variant}) at budgets of {flop(law.budgets[0])} to "
        f"{flop(law.budgets[-1])} FLOP, {law.flops_formula}. Their loss is the {law.loss} on "
        f"{count(law.held_out_tokens)} held-out activations.{missing}",
        sections=sections,
    )
    return page


def _optimum(optimum: Optimum) -> tuple[str, ...]:
    shown = (optimum.features, optimum.steps, optimum.learning_rate, optimum.loss)
    explained, dead = optimum.explained_variance, optimum.dead_fraction
    shares = [percent(share.value) if share else _NOTHING for share in (explained, dead)]
    return flop(optimum.budget), *map(_value, shown), *shares


def _laws(laws: LawAtL0) -> list[tuple[str, ...]]:
    return [
        (name, _formula(fit), _value(fit.exponent), f"{fit.points} budgets")
        for name, fit in laws.named.items()
        if fit.problem is None
    ]


def _formula(fit: Fit) -> str:
    assert fit.scale is not None
    assert fit.exponent is not None
    floor = f"{significant(fit.floor.value)} + " if fit.floor else ""
    exponent = significant(fit.exponent.value)
    return f"{floor}{significant(fit.scale.value)} · ({fit.x} / {flop(fit.x_unit)})^({exponent})"


def _joint(law: Law) -> Section:
    joint = law.joint
    assert joint is not None
    rows = [(name, _value(value)) for name, value in joint.parameters.items()]
    return Section(
        "Loss against features and L0",
        "exp(α + β_k ln k + β_n ln n + γ ln k ln n) + exp(ζ + η ln k), of n features with L0 k; the longest "
        "training of each.",
        table=[("Parameter", "95 % interval"), *rows] if rows else (),
        notes=[joint.problem] if joint.problem else (),
    )


def _points(law: Law) -> Section:
    rows = [
        (
            point.run, flop(point.budget), count(point.features), count(point.steps), f"{point.learning_rate:.2g}",
            f"{point.loss:.4g}", percent(point.explained_variance), significant(point.l0), percent(point.dead_fraction),
        )
        for point in law.points
    ]  # fmt: skip
    head = ("Dictionary", "Budget, FLOP", "Features", "Steps", "Rate", "Loss", "Explained variance", "L0", "Dead")
    made = f"Made with {law.command}" if law.command else ""
    versions = ", ".join(f"{name} {number}" for name, number in law.versions.items())
    return Section("Every dictionary", table=[head, *rows], notes=[note for note in (made, versions) if note])


def _value(value: Value | None) -> str:
    if value is None:
        return _NOTHING
    if value.interval is None:
        return significant(value.value)
    low, high = value.interval
    return f"{significant(value.value)} ({significant(low)} to {significant(high)})"
