"""Scaling studies as people read them in a terminal: what is trained, and the laws."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from semascope.scaling import JointLaw, Law, LawAtL0, Plan, Value, flop

UNKNOWN = "–"


def plan_table(plan: Plan) -> Group:
    """The grid: of each budget the widths, their tokens and steps, and what it costs."""
    table = _table("Budget", "Features", "Tokens", "Steps", "Learning rates", "Dictionaries")
    for budget in plan.budgets:
        cells = plan.of_budget(budget)
        trainings = [cell.config.training for cell in cells]
        table.add_row(
            flop(budget),
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
            f"{len(plan.cells)} dictionaries, {flop(sum(cell.budget for cell in plan.cells))} FLOP as the field counts "
            "them, 12 · width · features · tokens; this engine computes 2 of the 12, and what active features need: "
            f"{flop(plan.engine_flops())}. "
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
        remarks = [Text(remark, style="yellow") for remark in at_l0.remarks]
        shown += [_optima(at_l0), _fits(at_l0), *remarks]
    shown.append(Text(f"Loss: {law.loss}.", style="dim"))
    if law.joint:
        shown.append(_joint(law.joint))
    return Group(*shown)


def _optima(law: LawAtL0) -> Table:
    table = _table("Budget", "Best features", "Steps", "Rate", "Loss", "Explained", "Dead")
    for optimum in law.optima:
        table.add_row(
            flop(optimum.budget),
            with_interval(optimum.features, ",.0f"),
            _plain(optimum.steps, ",.0f"),
            _plain(optimum.learning_rate, ".2g"),
            with_interval(optimum.loss, "#.3g"),
            _plain(optimum.explained_variance, ".3f"),
            _plain(optimum.dead_fraction, ".2%"),
        )
    return table


def _fits(laws: LawAtL0) -> Table:
    table = _table("Law", "Exponent", "95 % interval")
    table.add_column("Value at")
    for name, fit in laws.named.items():
        if fit.problem is None and fit.exponent and fit.exponent.interval and fit.scale:
            low, high = fit.exponent.interval
            floor = f"{fit.floor.value:.3g} + " if fit.floor else ""
            unit = f"{floor}{fit.scale.value:.3g} at {flop(fit.x_unit)}"
            table.add_row(name, f"{fit.exponent.value:.3f}", f"{low:.3f} to {high:.3f}", unit)
    return table


def _joint(joint: JointLaw) -> Text:
    if joint.problem and not joint.parameters:
        return Text(f"No law in features and L0: {joint.problem}", style="yellow")
    values = ", ".join(f"{name} {with_interval(value, '.3g')}" for name, value in joint.parameters.items())
    problem = f" (not to be relied on: {joint.problem})" if joint.problem else ""
    return Text(
        f"Loss in features n and L0 k, exp(α + β_k ln k + β_n ln n + γ ln k ln n) + exp(ζ + η ln k): {values}{problem}"
    )


def with_interval(value: Value | None, form: str) -> str:
    """A number and where it may lie."""
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
    table = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column(first, style="bold", no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
