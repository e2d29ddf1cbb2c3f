"""Which model's fresh process comes next, and when there have been enough of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from devices.assemble import Taken, blocks_of, settle
from devices.plan import Plan
from profiles import statistics

_ON_END = 2  # processes after which the interval was narrow enough


def order(taken: Sequence[Taken], plan: Plan, clock_s: Callable[[], float]) -> Iterator[tuple[int, int]]:
    """(which model, which of its processes), in random order, while the caller measures between two of them.

    With ``plan.within`` in rounds of one process a model: a model leaves when its interval was narrow enough after two
    processes on end, since one may be so by chance, or when its budget is over. ``half_width`` of each is kept up to
    date. A model whose ``error`` is set is left out.
    """
    shuffle = random.Random(plan.seed).shuffle
    if plan.within is None:
        steps = [(which, number) for which in range(len(taken)) for number in range(plan.processes)]
        shuffle(steps)
        yield from steps
        return
    spent_s, narrow = [0.0] * len(taken), [0] * len(taken)
    left, number = list(range(len(taken))), 0
    while left:
        shuffle(left)
        for which in left:
            start = clock_s()
            yield which, number
            taken[which].half_width = found = _half_width(taken[which], plan)
            narrow[which] = narrow[which] + 1 if found is not None and found <= plan.within else 0
            spent_s[which] += clock_s() - start
        number += 1
        # Another process takes about as long as those before it.
        left = [
            which
            for which in left
            if taken[which].error is None
            and (
                number < plan.processes
                or (spent_s[which] * (1 + 1 / number) <= plan.budget_s and narrow[which] < _ON_END)
            )
        ]


def _half_width(one: Taken, plan: Plan) -> float | None:
    """Of the 95 % interval of the calibrated latency so far, relative; ``None`` below two processes."""
    if len(one.latency) < 2 or one.error is not None:
        return None
    _, used = settle(blocks_of(one.latency), processes=len(one.latency), groups=plan.groups)
    ratios = statistics.group_log_ratios(used, "model", "calibration")
    low, high = statistics.two_level_bootstrap(ratios, seed=plan.seed).interval(0.95)
    return math.expm1((high - low) / 2)
