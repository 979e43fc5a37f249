"""Scaling studies as people read them in a terminal: what is trained, and the laws."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from semascope.scaling import JointLaw, Law, LawAtL0, Optimum, Plan, Value

UNKNOWN = "–"


def plan_table(plan: Plan) -> Group:
    """The grid: of each budget the widths, their tokens and steps, and what it costs."""
    table = _table("Budget", "Features", "Tokens", "Steps", "Learning rates", "Dictionaries")
    for budget in plan.budgets:
        cells = plan.of_budget(budget)
        trainings = [cell.config.training for cell in cells]
        table.add_row(
            f"{budget:.3g}",
            _span([t.features for t in trainings], ","),
            _span([t.tokens for t in trainings], ","),
            _span([t.steps for t in trainings], ","),
            _span([cell.learning_rate for cell in cells], ".2g"),
            f"{len(cells)}",
        )
    asked = plan.asked
    return Group(
        table,
        Text(
            f"{len(plan.cells)} dictionaries, {sum(cell.budget for cell in plan.cells):.2g} FLOP as the field counts "
            "them, 12 · width · features · tokens; this engine computes 2 of the 12, and what active features need: "
            f"{plan.engine_flops():.2g}. "
            f"{asked.stored_tokens:,} activations of width {plan.width} are kept, shown up to {asked.passes} times; "
            f"measured on {asked.held_out_tokens:,} others.",
            style="dim",
        ),
    )


def law_tables(law: Law) -> Group:
    """The optimum of each budget, the laws, and what is wrong with them."""
    shown: list[RenderableType] = []
    if law.missing:
        shown.append(
            Text(
                f"Unfinished: {len(law.points)} of {len(law.points) + law.missing} dictionaries are trained, and the "
                "law is fitted to these. The command that trains them goes on.",
                style="yellow",
            )
        )
    for at_l0 in law.laws:
        if len(law.laws) > 1:
            shown.append(Text(f"L0 {at_l0.asked_l0:g}", style="bold"))
        shown += [_optima(at_l0), *_notes(at_l0.optima), _fits(law, at_l0)]
    if law.joint:
        shown.append(_joint(law.joint))
    return Group(*shown)


def _optima(law: LawAtL0) -> Table:
    table = _table("Budget", "Best features", "Steps", "Rate", "Loss", "Explained", "Dead")
    for optimum in law.optima:
        table.add_row(
            f"{optimum.budget:.3g}",
            _value(optimum.features, ",.0f"),
            _plain(optimum.steps, ",.0f"),
            _plain(optimum.learning_rate, ".2g"),
            _value(optimum.loss, "#.4g"),
            _plain(optimum.explained_variance, ".3f"),
            _plain(optimum.dead_fraction, ".2%"),
        )
    return table


def _notes(optima: list[Optimum]) -> list[Text]:
    return [Text(f"{optimum.budget:.3g} FLOP: {optimum.note}", style="yellow") for optimum in optima if optimum.note]


def _fits(law: Law, laws: LawAtL0) -> Group:
    table = _table("Law", "Exponent", "95 % interval")
    table.add_column("at the unit of compute or features")
    problems: list[Text] = []
    for name, fit in (
        ("Loss against compute", laws.loss),
        ("  without a floor", laws.loss_without_floor),
        ("Features against compute", laws.features),
        ("Steps against compute", laws.steps),
        ("Rate against features", laws.learning_rate),
        ("Dead against compute", laws.dead_fraction),
    ):
        if fit.problem or fit.exponent is None or fit.scale is None or fit.exponent.interval is None:
            problems.append(Text(f"{name.strip()}: no law: {fit.problem}", style="yellow"))
            continue
        low, high = fit.exponent.interval
        floor = f"{fit.floor.value:.3g} + " if fit.floor else ""
        table.add_row(
            name,
            f"{fit.exponent.value:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{floor}{fit.scale.value:.3g} at {fit.x_unit:.3g}",
        )
    return Group(table, *problems, Text(f"Loss: {law.loss}.", style="dim"))


def _joint(joint: JointLaw) -> Text:
    if joint.problem and not joint.parameters:
        return Text(f"No law in features and L0: {joint.problem}", style="yellow")
    values = ", ".join(f"{name} {_value(value, '.3g')}" for name, value in joint.parameters.items())
    problem = f" (not to be relied on: {joint.problem})" if joint.problem else ""
    return Text(
        f"Loss in features n and L0 k, exp(α + β_k ln k + β_n ln n + γ ln k ln n) + exp(ζ + η ln k): {values}{problem}"
    )


def _value(value: Value | None, form: str) -> str:
    if value is None:
        return UNKNOWN
    if value.interval is None:
        return f"{value.value:{form}}"
    low, high = value.interval
    return f"{value.value:{form}} ({low:{form}}–{high:{form}})"


def _plain(value: Value | None, form: str) -> str:
    return UNKNOWN if value is None else f"{value.value:{form}}"


def _span(values: list[int] | list[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low}–{high}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column(first, style="bold", no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
