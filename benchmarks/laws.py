"""The tables of docs/SCALING.md, from the law that is kept beside it.

    python benchmarks/laws.py

The law itself is made anew with the command that docs/SCALING.md gives, which takes hours.
"""

from __future__ import annotations

from pathlib import Path

from semascope.cli.laws import with_interval
from semascope.scaling import Law, flop

STUDY = Path(__file__).parents[1] / "docs/scaling/smollm2-135m"


def lines(law: Law) -> list[str]:
    """The optimum of each budget, then the laws, as Markdown."""
    [at_l0] = law.laws
    shown = [
        "| budget, FLOP | best features | steps of 256 tokens | learning rate | unexplained variance | dead |",
        "|---|---|---|---|---|---|",
    ]
    for optimum in at_l0.optima:
        cells = [
            flop(optimum.budget),
            with_interval(optimum.features, ",.0f"),
            with_interval(optimum.steps, ",.0f"),
            with_interval(optimum.learning_rate, ".2g"),
            with_interval(optimum.loss, "#.3g"),
            with_interval(optimum.dead_fraction and optimum.dead_fraction.model_copy(update={"interval": None}), ".2%"),
        ]
        shown.append(f"| {' | '.join(cells)} |")
    shown += ["", "| law | formula | exponent, 95 % interval |", "|---|---|---|"]
    for name, fit in at_l0.named.items():
        if fit.problem or fit.exponent is None or fit.exponent.interval is None or fit.scale is None:
            shown.append(f"| {name} | none: {fit.problem} | |")
            continue
        low, high = fit.exponent.interval
        floor = f"{fit.floor.value:.3g} + " if fit.floor else ""
        x = "features" if name.endswith("features") else "compute"
        unit = flop(fit.x_unit) if x == "compute" else f"{fit.x_unit:,.0f}"
        formula = f"{floor}{fit.scale.value:.3g} · ({x} / {unit})^{fit.exponent.value:.3f}"
        shown.append(f"| {name} | {formula} | {fit.exponent.value:.3f} ({low:.3f} to {high:.3f}) |")
    return shown


if __name__ == "__main__":
    print("\n".join(lines(Law.read(STUDY / "law.json"))))
