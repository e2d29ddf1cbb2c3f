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
    """A value with its standard error; ``draws`` (resamples,) are the bootstrap's, centred on the value.

    ``processes``: how many the value comes from.
    """

    value: float
    sem: float
    draws: Array
    processes: int

    def interval(self, confidence: float) -> tuple[float, float]:
        """The central interval of the draws, widened for few processes as Student's t is wider than the normal.

        Percentiles of the draws alone are too narrow where they stand on three or five processes (Hesterberg 2015,
        "What teachers should know about the bootstrap": the expanded percentile interval). Beyond 99 % the draws are
        too few for percentiles: there the interval is that of t around the value, with the standard error.
        """
        from scipy.stats import norm, t

        tail = (1 - confidence) / 2
        wide = float(t.ppf(1 - tail, self.processes - 1))
        if confidence > _MAX_PERCENTILE_CONFIDENCE:
            return self.value - wide * self.sem, self.value + wide * self.sem
        low, high = np.percentile(self.draws, [100 * tail, 100 - 100 * tail])
        factor = wide / float(norm.ppf(1 - tail))
        return self.value + factor * float(low - self.value), self.value + factor * float(high - self.value)


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
    medians holds it already, and n of n processes understate their own spread. So the draws are scaled, around the
    value, to the larger of two standard errors: that of the n medians, and what noise within processes alone gives
    (the floor where few processes agree by chance).

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
    sem = max(float(of_process.std(ddof=1)) / math.sqrt(count), math.sqrt(within) / count)
    spread = float(centred.std())
    draws = value + centred * (sem / spread if spread > 0 else 1.0)
    return Estimate(value=value, sem=sem, draws=draws, processes=count)


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
