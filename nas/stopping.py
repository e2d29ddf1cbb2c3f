"""When to stop: a training that cannot better the front any more, and a search that no longer betters it.

Pure functions: records and numbers in, a decision with its reason out.

**A training.** Latency, energy and memory of its network are measured already; what it will be worth is read off its
learning curve. The trainings that were completed say how much is still to come after this step: by how much the metric
rose, and by what factor what lacks to the ideal (1 for a share such as accuracy, 0 for an error) shrank. Of each the
``QUANTILE`` is taken, as split conformal prediction does (Vovk et al. 2005): a further training like them exceeds it
with a probability of at most 1 - ``QUANTILE``, and it takes 4 of them before it says anything. The better one of the
two values counts. Where a completed trial is as good as even that, and no worse in any measured objective, the training
ends. Not covered: scripts whose steps mean different things for different candidates; networks that learn more slowly
than all that were completed, since those that were stopped teach nothing.

**A search** ends where the hypervolume of the last trials grew by less than a bar: Ax's
``ImprovementGlobalStoppingStrategy``, from our own hypervolume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nas import pareto
from nas.generators import Limit, Objective

Curve = Sequence[tuple[float, float]]

QUANTILE = 0.8
FIRST_POINT = 2  # of a curve at which a training may be stopped: the first says little of what comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A training as far as it got. ``metrics``: what is known, of a completed trial all; ``curves``: metric -> points.

    ``epochs``: how long it was meant to take, where that is a choice of its own; only equal ones are compared.
    """

    trial: int
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    epochs: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """At ``step`` of ``steps``. ``hoped``: the best to be expected; the trial ``rival`` is as good as even that."""

    reason: str
    step: float
    steps: float
    hoped: Mapping[str, float]
    rival: int


def early(
    running: Course, completed: Sequence[Course], objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> Stop | None:
    """Why ``running`` should end now, or ``None``: it may still better the front, or that cannot be told.

    It cannot be told without a curve of each objective that was not measured, or with too few completed trainings.
    Limits that only the training tells count as kept.
    """
    alike = [course for course in completed if course.epochs == running.epochs]
    hoped: dict[str, float] = {}
    steps = 0.0
    for objective in objectives:
        if objective.name in running.metrics:
            continue
        curve = running.curves.get(objective.name, ())
        ended = [
            (course.curves[objective.name], course.metrics[objective.name])
            for course in alike
            if course.curves.get(objective.name) and objective.name in course.metrics
        ]
        steps = max((other[-1][0] for other, _ in ended), default=0.0)
        if not curve or curve[-1][0] >= steps:
            return None  # it has not begun, or is through, or there is nothing to compare it with
        hope = _hope(curve, ended, objective.goal)
        if hope is None:
            return None
        hoped[objective.name] = hope
    if not hoped:
        return None
    at_best = dict(running.metrics) | hoped
    for rival in completed:
        fits = pareto.complete(rival.metrics, objectives) and pareto.keeps(rival.metrics, limits)
        if fits and all(_no_worse(rival.metrics[o.name], at_best[o.name], o.goal) for o in objectives):
            step = max(running.curves[name][-1][0] for name in hoped)
            best = ", ".join(f"{name} {value:.4g}" for name, value in hoped.items())
            theirs = ", ".join(f"{o.name} {rival.metrics[o.name]:.4g}" for o in objectives)
            reason = f"step {step:g} of {steps:g}: {best} at best, and trial {rival.trial} has {theirs}"
            return Stop(reason=reason, step=step, steps=steps, hoped=hoped, rival=rival.trial)
    return None


def stalled(before: float, now: float, *, window: int, bar: float) -> str | None:
    """Why the search should end, or ``None``. ``before`` and ``now``: the hypervolume without and with the last
    ``window`` trials.

    It ends where they added less than ``bar`` times what there was. Where there was nothing, it goes on.
    """
    if before <= 0 or now - before >= bar * before:
        return None
    grown = 100 * (now / before - 1)
    return f"the hypervolume stalled: {grown:.2g} % more in {window} trials, the bar is {100 * bar:g} %"


def _hope(curve: Curve, ended: Sequence[tuple[Curve, float]], goal: str) -> float | None:
    """The best that is to be expected at the end of ``curve``, from (curve, final value) of trainings that ended."""
    if len(curve) < FIRST_POINT:
        return None
    step, now = curve[-1]
    pairs = [(value, final) for other, final in ended if (value := _value_at(other, step)) is not None]
    if not pairs:
        return None
    then, final = np.array(pairs).T
    rise = _quantile(final - then if goal == "max" else then - final)
    if rise is None:
        return None
    hopes = [now + rise if goal == "max" else now - rise]
    ideal = _ideal(goal, [now, *then, *final])
    if ideal is not None:
        lacking = np.maximum(np.abs(ideal - then), 1e-9)
        hopes.append(ideal + (ideal - now) * (_quantile(-np.abs(ideal - final) / lacking) or 0.0))
    return max(hopes) if goal == "max" else min(hopes)


def _ideal(goal: str, values: Sequence[float]) -> float | None:
    """What no value can pass, where that shows: shares are at most 1, errors at least 0."""
    if goal == "max":
        return 1.0 if max(values) <= 1 and min(values) >= 0 else None
    return 0.0 if min(values) >= 0 else None


def _quantile(values: npt.NDArray[np.float64]) -> float | None:
    """With n values, the ceil((n + 1) QUANTILE)-th smallest; ``None`` where that is beyond the largest."""
    place = math.ceil((len(values) + 1) * QUANTILE - 1e-9)
    return float(np.sort(values)[place - 1]) if place <= len(values) else None


def _value_at(curve: Curve, step: float) -> float | None:
    """Linear between points; ``None`` before the first and after the last."""
    steps, values = zip(*curve, strict=True) if curve else ((), ())
    return float(np.interp(step, steps, values)) if steps and steps[0] <= step <= steps[-1] else None


def _no_worse(one: float, other: float, goal: str) -> bool:
    return one >= other if goal == "max" else one <= other
