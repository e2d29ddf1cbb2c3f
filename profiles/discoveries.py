"""Which of many verdicts are alarms? One in a hundred may be false: with forty pairs a night, one every few nights.

    p = [p_value(verdict) for verdict in verdicts]
    alarms = discoveries(p)

The p-value is read back from the interval that a verdict stands on, so that both say the same: p < alpha exactly where
the verdict is "regressed". Of those that ``discoveries`` picks, a share of at most ``rate`` is false on average
(Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from profiles.verdicts import ALPHA, Verdict


def p_value(verdict: Verdict) -> float:
    """Of "slower by at most the floor", over all looks together; from 0 to 1.

    Student's t of the distance from the floor in standard errors, both tails, times the looks (Bonferroni), as in
    ``verdicts.judge``. The standard error is that of the interval's lower half: exact where 1 - alpha / looks is above
    99 %, as by default; below, where the interval is one of percentiles, it is exact at the floor and close elsewhere.
    """
    from scipy.stats import t

    alpha, freedom = verdict.false_alarm_rate or ALPHA, verdict.processes - 1
    value, low = math.log(verdict.ratio), math.log(verdict.ratio_ci99[0])
    sem = (value - low) / float(t.ppf(1 - alpha / verdict.looks / 2, freedom))
    distance = value - math.log1p(verdict.floor)
    if sem <= 0:
        return 0.0 if distance > 0 else 1.0
    return min(1.0, 2 * verdict.looks * float(t.sf(distance / sem, freedom)))


def discoveries(p_values: Sequence[float], rate: float = ALPHA) -> list[bool]:
    """Which of them are alarms, at a false discovery rate of at most ``rate``; in the order given."""
    from scipy.stats import false_discovery_control

    if not p_values:
        return []
    return [bool(adjusted <= rate) for adjusted in false_discovery_control(np.asarray(p_values))]
