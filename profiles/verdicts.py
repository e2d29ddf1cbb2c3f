"""Is one model slower than another? One function, for a comparison by hand and for nightly runs.

The input is what a duet brings: for each fresh process the log-ratios (other / base) of its ABBA groups. The answer is
one of

    regressed    the whole interval lies above the floor: the other is slower, by more than the floor
    improved     the whole interval lies below it on the other side
    same         the whole interval lies within the floor: a difference, if there is one, is too small to matter
    undecided    none of these yet: measure more processes and look again, at most ``looks`` times

Every look uses a two-level bootstrap interval at the confidence 1 - alpha / looks, so that all looks together are wrong
with at most the probability alpha (Bonferroni; it holds for any rule of when to look). A verdict "regressed" or
"improved" is a false alarm where the true ratio lies within the floor: alpha bounds how often that happens. The true
ratio is the mean over processes, and the bound holds where their ratios lie evenly about it, as those of a model with
itself do. Where one process in ten is slow, there may be no slow one among the few that a look has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from profiles.errors import InputError
from profiles.statistics import Array, two_level_bootstrap

Answer = Literal["regressed", "improved", "same", "undecided"]
ANSWERS: tuple[Answer, ...] = ("regressed", "improved", "same", "undecided")

ALPHA = 0.01
LOOKS = 4
FLOOR = 0.01
MIN_PROCESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Ratios are other / base: above 1 is slower. ``ratio_ci99`` holds whichever look the measurement stopped at."""

    verdict: Answer
    ratio: float
    ratio_ci99: tuple[float, float]  # at 1 - alpha / looks; with the default alpha all looks together are 99 %
    ratio_ci95: tuple[float, float]  # of this look alone
    floor: float  # 0.01: differences up to 1 % count as the same
    false_alarm_rate: float | None  # alpha: at most, for the whole sequence of looks; None: none is known
    look: int  # which this was, from 1
    looks: int
    processes: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "ratio": self.ratio,
            "ratio_ci99": list(self.ratio_ci99),
            "ratio_ci95": list(self.ratio_ci95),
            "verdict": self.verdict,
            "floor": self.floor,
            "false_alarm_rate": self.false_alarm_rate,
            "look": self.look,
            "looks": self.looks,
            "processes": self.processes,
            "groups": self.groups,
        }


def judge(
    per_process: Sequence[Array],
    *,
    floor: float = FLOOR,
    alpha: float = ALPHA,
    look: int = 1,
    looks: int = LOOKS,
    seed: int = 0,
) -> Verdict:
    """The verdict of one look. ``per_process``: log(other / base), one array (groups,) for each fresh process.

    ``floor``: relative, 0.01 is 1 %; the same factor both ways (1.01 and 1 / 1.01). Pure: equal input gives an equal
    verdict. Raises InputError below ``MIN_PROCESSES`` processes and on values outside their range.
    """
    if not (0 <= floor < 1 and 0 < alpha < 1 and 1 <= look <= looks):
        raise InputError(f"floor {floor}, alpha {alpha}, look {look} of {looks}: accepted: 0 to 1, 0 to 1, 1 to looks")
    if len(per_process) < MIN_PROCESSES:
        raise InputError(f"processes: given {len(per_process)}; accepted: from {MIN_PROCESSES} for a verdict")
    estimate = two_level_bootstrap(per_process, seed=seed)
    low, high = estimate.interval(1 - alpha / looks)
    narrow = estimate.interval(0.95)
    return Verdict(
        verdict=answer(low, high, math.log1p(floor)),
        ratio=math.exp(estimate.value),
        ratio_ci99=(math.exp(low), math.exp(high)),
        ratio_ci95=(math.exp(narrow[0]), math.exp(narrow[1])),
        floor=floor,
        false_alarm_rate=alpha,
        look=look,
        looks=looks,
        processes=len(per_process),
        groups=sum(len(groups) for groups in per_process),
    )


def answer(low: float, high: float, limit: float) -> Answer:
    """``low``, ``high``: the interval of log(other / base); ``limit``: log(1 + floor)."""
    if low > limit:
        return "regressed"
    if high < -limit:
        return "improved"
    if -limit <= low and high <= limit:
        return "same"
    return "undecided"
