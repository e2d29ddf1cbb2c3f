"""Which model's fresh process comes next, and when there have been enough of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from devices.assemble import Taken, blocks_of, settle
from devices.plan import Plan
from profiles import statistics


def order(taken: Sequence[Taken], plan: Plan, clock_s: Callable[[], float]) -> Iterator[tuple[int, int]]:
    """(which model, which of its processes), in random order, while the caller measures between two of them.

    With ``plan.within`` in rounds of one process a model: a model leaves when its interval is narrow enough or its
    budget is over. A model whose ``error`` is set is left out.
    """
    shuffle = random.Random(plan.seed).shuffle
    if plan.within is None:
        steps = [(which, number) for which in range(len(taken)) for number in range(plan.processes)]
        shuffle(steps)
        yield from steps
        return
    spent_s = [0.0] * len(taken)
    left, number = list(range(len(taken))), 0
    while left:
        shuffle(left)
        for which in left:
            start = clock_s()
            yield which, number
            spent_s[which] += clock_s() - start
        number += 1
        # Another process takes about as long as those before it.
        left = [
            which
            for which in left
            if taken[which].error is None
            and (
                number < plan.processes
                or (spent_s[which] * (1 + 1 / number) <= plan.budget_s and not _reached(taken[which], plan))
            )
        ]


def half_width(one: Taken, plan: Plan) -> float | None:
    """Of the 95 % interval of the calibrated latency so far, relative; ``None`` below two processes."""
    if len(one.latency) < 2:
        return None
    _, used = settle(blocks_of(one.latency), processes=len(one.latency), groups=plan.groups)
    ratios = statistics.group_log_ratios(used, "model", "calibration")
    low, high = statistics.two_level_bootstrap(ratios, seed=plan.seed).interval(0.95)
    return math.expm1((high - low) / 2)


def _reached(one: Taken, plan: Plan) -> bool:
    found = half_width(one, plan)
    return found is not None and plan.within is not None and found <= plan.within
