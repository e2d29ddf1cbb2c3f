"""Statistics of paired, interleaved measurements. Free functions over arrays.

Why not "mean of one run": the spread within a process says nothing about the next process. Times here are compared
within a group of four neighbouring blocks (A B B A), and the uncertainty is that over groups *and* over processes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from profiles.records import Arm, Block, Percentiles

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
_MAX_PERCENTILE_CONFIDENCE = 0.99  # above it, fewer than ten of the draws would lie outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with two standard errors of it: by the spread ``between`` processes, which holds the noise within them
    too, and by the noise ``within`` them alone, the floor where few processes agree by chance.

    ``draws`` (resamples,): the bootstrap's deviations from the value, scaled to a standard deviation of 1.
    ``processes``: how many the value comes from.
    """

    value: float
    between: float
    within: float
    draws: Array
    processes: int

    @property
    def sem(self) -> float:
        return max(self.between, self.within)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The central interval of the draws, as wide as the wider one of two: Student's t for the few processes that
        ``between`` stands on, and the normal for the many groups that ``within`` stands on.

        Percentiles of the draws alone are too narrow where they stand on three or five processes (Hesterberg 2015,
        "What teachers should know about the bootstrap": the expanded percentile interval). Beyond 99 % the draws are
        too few for percentiles: there it takes the shape that they have at 99 %, and is nowhere narrower than a
        symmetric one.
        """
        from scipy.stats import norm, t

        tail = (1 - confidence) / 2
        half = max(
            float(t.ppf(1 - tail, self.processes - 1)) * self.between,
            float(norm.ppf(1 - tail)) * self.within,
        )
        known = max(tail, (1 - _MAX_PERCENTILE_CONFIDENCE) / 2)
        low, high = np.percentile(self.draws, [100 * known, 100 - 100 * known]) / norm.ppf(1 - known)
        if known > tail:
            low, high = min(low, -1.0), max(high, 1.0)
        return self.value + half * float(low), self.value + half * float(high)


def group_log_ratios(blocks: Iterable[Block], over: Arm, under: Arm) -> list[Array]:
    """One array per process: log(time of ``over`` / time of ``under``) of each complete, undisturbed ABBA group.

    A block counts by the median of its times. A group with a disturbed or empty block is left out, since half of it
    would no longer cancel drift. Processes without any group are left out.
    """
    ratios = []
    for _, groups in sorted(_whole_groups(blocks, over, under).items()):
        values = [(_log_time(arms[over]) - _log_time(arms[under])) / 2 for _, arms in sorted(groups.items())]
        if values:
            ratios.append(np.array(values, dtype=np.float64))
    return ratios


def quiet_groups(blocks: Iterable[Block], over: Arm, under: Arm) -> dict[int, int]:
    """Process -> how many of its groups are complete and undisturbed."""
    return {process: len(groups) for process, groups in _whole_groups(blocks, over, under).items()}


def _whole_groups(
    blocks: Iterable[Block], over: Arm, under: Arm
) -> dict[int, dict[int, dict[str, list[tuple[int, ...]]]]]:
    """Process -> group -> arm -> the times of its two blocks, of the groups that are complete and undisturbed."""
    found: dict[int, dict[int, dict[str, list[tuple[int, ...]]]]] = {}
    spoilt: set[tuple[int, int]] = set()
    for block in blocks:
        groups = found.setdefault(block.process, {})
        if block.disturbed or not block.latencies_ns:
            spoilt.add((block.process, block.group))
            continue
        arms = groups.setdefault(block.group, {over: [], under: []})
        if block.arm in arms:
            arms[block.arm].append(block.latencies_ns)
    return {
        process: {
            group: arms
            for group, arms in groups.items()
            if (process, group) not in spoilt and len(arms[over]) == len(arms[under]) == 2
        }
        for process, groups in found.items()
    }


def _log_time(blocks: Sequence[tuple[int, ...]]) -> float:
    """The sum of their log-medians. Python's median: a block has a few dozen times, for which numpy's takes longer."""
    return sum(math.log(median(times)) for times in blocks)


def two_level_bootstrap(per_process: Sequence[Array], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Mean over processes of the median over groups, with the standard error over both levels.

    ``per_process``: one array (groups,) per process, at least two processes. Each resample draws processes with
    replacement, then groups within each. That counts the noise within processes twice, since the spread between their
    medians holds it already, and n of n processes understate their own spread. So of the draws only the shape is kept.

    Raises ValueError below two processes: one process cannot say how the next one will differ.
    """
    count = len(per_process)
    if count < 2:
        raise ValueError(f"a standard error over processes needs at least 2 of them, given {count}")
    of_process = np.array([np.median(groups) for groups in per_process])
    value = float(of_process.mean())
    generator = np.random.default_rng(seed)
    chosen = generator.integers(count, size=(resamples, count))
    # Medians of resampled groups, one column per process, one row per resample and place.
    medians = np.empty((resamples, count))
    within = 0.0
    for process, groups in enumerate(per_process):
        places = chosen == process
        draws = generator.integers(len(groups), size=(int(places.sum()), len(groups)))
        medians[places] = np.median(groups[draws], axis=1)
        within += float(medians[places].var())
    centred = medians.mean(axis=1) - value
    spread = float(centred.std())
    return Estimate(
        value=value,
        between=float(of_process.std(ddof=1)) / math.sqrt(count),
        within=math.sqrt(within) / count,
        draws=centred / spread if spread > 0 else np.zeros(resamples),
        processes=count,
    )


def percentiles(latencies_ns: npt.ArrayLike, wanted: Sequence[float] = (10, 50, 90, 99)) -> dict[float, float | None]:
    """Percentiles in the unit given; ``None`` where there are fewer samples than ``minimum_count`` asks for."""
    times = np.asarray(latencies_ns, dtype=np.float64)
    return {
        percent: float(np.percentile(times, percent)) if len(times) >= minimum_count(percent) else None
        for percent in wanted
    }


def percentiles_ms(latencies_ns: npt.ArrayLike) -> Percentiles:
    p10, p50, p90, p99 = (None if ns is None else ns / 1e6 for ns in percentiles(latencies_ns).values())
    return Percentiles(p10=p10, p50=p50, p90=p90, p99=p99)


@functools.cache
def minimum_count(percent: float, confidence: float = 0.99) -> int:
    """How many samples a percentile needs: 11 for p50, 64 for p90, 662 for p99, and the same for its mirror image.

    MLPerf loadgen's early-stopping rule (loadgen/early_stopping.cc): the least h such that, of h + 1 samples, not even
    one may lie beyond the percentile by chance with probability above 1 - confidence.
    """
    tail = min(percent, 100 - percent) / 100 if percent != 50 else 0.5
    needed = 1
    while _binomial_at_most_one(needed, tail) > 1 - confidence:
        needed += 1
    return needed


def _binomial_at_most_one(count: int, tail: float) -> float:
    """P[Bin(count, tail) <= 1]."""
    return float((1 - tail) ** count + count * tail * (1 - tail) ** (count - 1))
