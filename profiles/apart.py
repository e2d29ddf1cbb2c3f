"""Two profiles of different devices against each other: they cannot be measured in alternating blocks.

What stands in for the duet is the ratio of the calibrated latencies, each of which is the ratio to the calibration
model beside it in the same blocks. Not in the interval: how well the references of the two devices are known (see
``Store.reference_ms``), which would move all latencies of a device by one factor, and how two profiles of different
moments differ. So no rate of false alarms is stated.
"""

from __future__ import annotations

import math
from collections import Counter

from profiles import statistics, verdicts
from profiles.comparisons import Comparison
from profiles.errors import MeasurementError
from profiles.records import Profile
from profiles.verdicts import ALPHA, FLOOR, Verdict

METHOD = "profiles"


def compare(base: Profile, other: Profile, *, floor: float = FLOOR) -> Comparison:
    """Raises MeasurementError where a profile has no latency of its own in at least two processes."""
    return Comparison(
        base=base.model,
        other=other.model,
        base_digest=base.digest,
        other_digest=other.digest,
        target=other.target,
        base_target=base.target,
        device=other.device,
        base_device=base.device,
        verdict=(verdict := judge(base, other, floor=floor)),
        base_ms=_raw_ms(base),
        other_ms=_raw_ms(other),
        method=METHOD,
        stopped="budget" if verdict.verdict == "undecided" else "decided",
        flags=tuple(dict.fromkeys((*base.flags, *other.flags))),
        conditions=other.conditions,
        versions=other.versions,
        time=other.time,
        command=other.command,
    )


def judge(base: Profile, other: Profile, *, floor: float = FLOOR, alpha: float = ALPHA) -> Verdict:
    """One look. The standard errors of both add up on the log scale; the interval is Student's, with the degrees of
    freedom of Welch and Satterthwaite over the processes that the two stand on.
    """
    from scipy.stats import t

    used = [_used(one) for one in (base, other)]
    spreads = [(_log_sem(one), processes) for one, (processes, _) in zip((base, other), used, strict=True)]
    value = math.log(other.latency_ms_calibrated / base.latency_ms_calibrated)
    sem = math.hypot(*(log_sem for log_sem, _ in spreads))
    freedom = _freedom(spreads)

    def interval(confidence: float) -> tuple[float, float]:
        half = float(t.ppf((1 + confidence) / 2, freedom)) * sem
        return value - half, value + half

    low, high = interval(1 - alpha)
    narrow = interval(0.95)
    return Verdict(
        verdict=verdicts.answer(low, high, math.log1p(floor)),
        ratio=math.exp(value),
        ratio_ci99=(math.exp(low), math.exp(high)),
        ratio_ci95=(math.exp(narrow[0]), math.exp(narrow[1])),
        floor=floor,
        false_alarm_rate=None,
        look=1,
        looks=1,
        processes=min(count for _, count in spreads),
        groups=sum(groups for _, groups in used),
    )


def _freedom(spreads: list[tuple[float, int]]) -> float:
    parts = [(log_sem**4, count - 1) for log_sem, count in spreads]
    total = sum(log_sem**2 for log_sem, _ in spreads) ** 2
    under = sum(part / freedom for part, freedom in parts)
    return total / under if under > 0 else min(freedom for _, freedom in parts)


def _log_sem(one: Profile) -> float:
    return one.latency_ms_sem / one.latency_ms_calibrated


def _used(one: Profile) -> tuple[int, int]:
    """Processes and groups that the record stands on: all of a run that stayed disturbed; else undisturbed groups of
    the processes of which at least half of the groups are undisturbed.

    A record does not say how many groups were asked for; measured by those that ran, which are at least as many, a
    process may be left out here that was used there, never the other way round. Two were used in any case.
    """
    ran = Counter(process for process, _ in {(block.process, block.group) for block in one.blocks})
    if len(ran) < 2:
        raise MeasurementError(f"{one.model} on {one.target.name}: given {len(ran)} processes; accepted: at least 2")
    if "disturbed" in one.flags:
        return len(ran), ran.total()
    quiet = statistics.quiet_groups(one.blocks, "model", "calibration")
    good = [count for process, count in quiet.items() if count >= ran[process] / 2]
    return max(2, len(good)), sum(good)


def _raw_ms(one: Profile) -> float:
    """For orientation. A handful of samples has no median of its own: then what they were calibrated to."""
    return one.latency_ms_calibrated if one.latency_ms.p50 is None else one.latency_ms.p50
