"""The Pareto front and its hypervolume, from observed values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nas.generators import Limit, Objective

Array = npt.NDArray[np.float64]


def front(
    rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> list[int]:
    """Indices of the rows that keep all limits and that no other such row dominates, in ascending order.

    A row without one of the objectives, or without a limited metric, is left out. Of equal rows all are kept.
    """
    import moocore

    candidates = [index for index, row in enumerate(rows) if complete(row, objectives) and keeps(row, limits)]
    if not candidates:
        return []
    kept = moocore.is_nondominated(_costs([rows[i] for i in candidates], objectives), keep_weakly=True)
    return [index for index, on_front in zip(candidates, kept, strict=True) if on_front]


def hypervolume(
    rows: Sequence[Mapping[str, float]],
    objectives: Sequence[Objective],
    reference: Mapping[str, float],
    limits: Sequence[Limit] = (),
) -> float:
    """The volume that the feasible rows dominate, up to ``reference``, in the product of the objectives' units."""
    import moocore

    feasible = [row for row in rows if complete(row, objectives) and keeps(row, limits)]
    if not feasible:
        return 0.0
    corner = _costs([reference], objectives)[0]
    costs = _costs(feasible, objectives)
    inside = costs[np.all(costs < corner, axis=1)]
    return float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0


def reference_point(
    rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> dict[str, float] | None:
    """Thresholds where the study gives them, else a limit from that side, else the worst value of the rows.

    ``None`` while there is no row to learn a missing coordinate from.
    """
    point: dict[str, float] = {}
    for objective in objectives:
        values = [row[objective.name] for row in rows if objective.name in row]
        known = worst_of_interest(objective, limits)
        if known is None and not values:
            return None
        worst = min if objective.goal == "max" else max
        point[objective.name] = known if known is not None else worst(values)
    return point


def worst_of_interest(objective: Objective, limits: Sequence[Limit]) -> float | None:
    """The objective's threshold, else the tightest limit on how bad it may be; ``None``: there is neither.

    A limit from the other side, such as a least latency, says nothing of that.
    """
    return tightest_limit(objective, limits) if objective.threshold is None else objective.threshold


def tightest_limit(objective: Objective, limits: Sequence[Limit]) -> float | None:
    """On how bad it may be; ``None``: there is none from that side."""
    op = "<=" if objective.goal == "min" else ">="
    bounds = [limit.bound for limit in limits if limit.name == objective.name and limit.op == op]
    tightest = min if objective.goal == "min" else max
    return tightest(bounds) if bounds else None


def complete(row: Mapping[str, float], objectives: Sequence[Objective]) -> bool:
    return all(objective.name in row for objective in objectives)


def keeps(row: Mapping[str, float], limits: Sequence[Limit]) -> bool:
    """Whether every limit is kept, for certain: a limited metric that was not measured is not kept."""
    return all(limit.name in row and broken(row, limit) is False for limit in limits)


def breaks(row: Mapping[str, float], limits: Sequence[Limit]) -> bool:
    """Whether a limit is broken, for certain: one on a metric that was not measured is not."""
    return any(broken(row, limit) for limit in limits)


def broken(row: Mapping[str, float], limit: Limit) -> bool | None:
    """``None`` where the metric was not measured."""
    if limit.name not in row:
        return None
    return row[limit.name] > limit.bound if limit.op == "<=" else row[limit.name] < limit.bound


def _costs(rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> Array:
    """(n, m), all to be minimised."""
    return np.array(
        [[row[o.name] if o.goal == "min" else -row[o.name] for o in objectives] for row in rows], dtype=np.float64
    )
