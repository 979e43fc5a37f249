"""Results of `quality.py` as a Markdown table: means over seeds with 95 % intervals, and ratios of throughput."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsity_search import close

OURS = "semascope"
# Student's t, two-sided 95 %, by degrees of freedom; beyond them the normal's.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
HEADER = ("variant", "trained by", "batch", "seeds", "L0", "explained variance", "CE recovered", "dead", "tokens/s",
          "ours is faster by", "ours explains more by")  # fmt: skip


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean over seeds and half the width of its interval, which one seed does not have (NaN)."""
    if len(values) < 2:
        return values[0], float("nan")
    student = STUDENT.get(len(values) - 1, 1.96)
    return statistics.mean(values), student * statistics.stdev(values) / len(values) ** 0.5


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """One row for each trainer of each variant, ours first."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["variant"], result["by"], result["batch"]), []).append(result)
    ours = {variant: group for (variant, by, _), group in groups.items() if by == OURS}
    lines = [HEADER, ("---",) * len(HEADER)]
    lines += [_row(key, group, ours.get(key[0])) for key, group in groups.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(
    key: tuple[str, str, int], group: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]] | None
) -> tuple[str, ...]:
    def mean(results: Sequence[Mapping[str, Any]], name: str) -> float:
        return statistics.mean(result[name] for result in results)

    def shown(name: str, digits: int) -> str:
        middle, half = mean_and_interval([result[name] for result in group])
        return f"{middle:,.{digits}f}" + (f" ± {half:,.{digits}f}" if half == half else "")

    variant, by, batch = key
    remarks = ["weight of the penalty searched"] if any(result["searched"] for result in group) else []
    if any(not close(result["l0"], result["l0_asked"]) for result in group):
        remarks.append("L0 not as asked")
    by_whom = f"{by} ({', '.join(remarks)})" if remarks else by
    faster = more = ""
    if ours and by != OURS:
        faster = f"{mean(ours, 'tokens_per_second') / mean(group, 'tokens_per_second'):.1f}×"
        more = f"{mean(ours, 'explained_variance') - mean(group, 'explained_variance'):+.3f}"
    figures = (shown("l0", 1), shown("explained_variance", 3), shown("ce_recovered", 3), shown("dead_fraction", 3))
    return variant, by_whom, f"{batch:,}", str(len(group)), *figures, shown("tokens_per_second", 0), faster, more
