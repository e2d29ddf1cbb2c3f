"""Timing models against each other in short interleaved blocks.

A group runs every arm twice, forth and back (A B B A), so that a steady drift cancels within a group. Blocks have equal
time rather than equal runs. Between blocks, never within, the machine is asked whether something disturbed it.
Method: duet benchmarking, arXiv 2001.05811, within one process or between two (``devices.residents``).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devices import disturbance
from devices.disturbance import Reading
from profiles.clock import now_ns
from profiles.errors import MeasurementError

# A block of a very fast model ends early, so that an answer has no more than some 100,000 times.
MAX_RUNS = 2000
LEAST_GROUPS = 2  # undisturbed, however long they take; tried for twice as often
WENT_BACKWARDS = "the clock of this machine went backwards while the model was timed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is timed. ``time`` runs once more than it is asked to; it gives the times in ns without the first one, which
    finds the caches full of the other model, and a reading before and one after.
    """

    runs: int  # that fill a block
    time: Callable[[int], tuple[tuple[int, ...], Reading, Reading]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBlock:
    group: int
    arm: str
    latencies_ns: tuple[int, ...]
    reasons: tuple[str, ...]  # why it counts as disturbed; empty: undisturbed
    frequency_khz: int | None = None  # at its end
    temperature_mc: int | None = None  # at its end, in 0.001 degrees C


def measure(
    arms: Mapping[str, Arm],
    *,
    groups: int,
    max_groups: int,
    seed: int,
    enough_ms: float | None = None,
    paced: bool = False,
) -> list[TimedBlock]:
    """All blocks in the order they ran, disturbed ones included.

    ``groups`` undisturbed groups are aimed at: a group with a disturbed block is followed by one more, up to
    ``max_groups`` in all. Where runs are longer than blocks were to be, no group begins after ``enough_ms`` once there
    are ``LEAST_GROUPS``. Which arm comes first in a group is random. ``paced``: the arms wait between their runs.
    Raises MeasurementError where the clock went backwards.
    """
    generator = random.Random(seed)
    found: list[TimedBlock] = []
    group = quiet = 0
    end_ns = math.inf if enough_ms is None else now_ns() + enough_ms * 1e6
    while quiet < groups and group < max_groups and (_few(quiet, group) or now_ns() < end_ns):
        order = list(arms)
        generator.shuffle(order)
        for name in [*order, *reversed(order)]:
            latencies_ns, before, after = arms[name].time(arms[name].runs)
            if min(latencies_ns) <= 0:
                raise MeasurementError(WENT_BACKWARDS)
            block = TimedBlock(
                group=group,
                arm=name,
                latencies_ns=latencies_ns,
                reasons=tuple(disturbance.reasons(before, after, busy=not paced)),
                frequency_khz=after.frequency_khz,
                temperature_mc=after.temperature_mc,
            )
            found.append(block)
        quiet += not any(block.reasons for block in found[-2 * len(order) :])
        group += 1
    return found


def _few(quiet: int, group: int) -> bool:
    return quiet < LEAST_GROUPS and group < 2 * LEAST_GROUPS


def arm(
    run: Callable[[], None],
    *,
    block_ms: float,
    warm_up_ms: float,
    interval_ms: float | None = None,
    reading: Callable[[], Reading] | None = None,
    prime: Callable[[], None] = lambda: None,
) -> Arm:
    """A model of this process, warmed up. ``interval_ms``: from the start of a run to that of the next, which sleeps
    until then; ``None``: back to back. A run that takes longer delays the next.

    ``prime``: called untimed before each run that is back to back. A model that fills the caches drives the way into
    the runtime out of them, most of which is Python that an app in C does not have: a tiny model brings it back.
    """
    reading = reading or disturbance.Sources().read
    pause_ns = round((interval_ms or 0.0) * 1e6)

    def time_block(count: int) -> tuple[tuple[int, ...], Reading, Reading]:
        before = reading()
        latencies_ns = _paced(run, count, pause_ns) if pause_ns else _time(run, count, prime)
        return latencies_ns, before, reading()

    return Arm(runs=_runs_per_block(run, block_ms, warm_up_ms, pause_ns, prime), time=time_block)


def _runs_per_block(
    run: Callable[[], None], block_ms: float, warm_up_ms: float, pause_ns: int, prime: Callable[[], None]
) -> int:
    """How many runs fill a block, the dropped one not counted: from the lower quartile of a warm-up of at least 3."""
    times: list[int] = []
    end = now_ns() + warm_up_ms * 1e6
    while len(times) < 3 or now_ns() < end:
        start = now_ns()
        prime()
        run()
        times.append(now_ns() - start)
        if times[-1] < 0:
            raise MeasurementError(WENT_BACKWARDS)
    typical_ns = max(1, pause_ns, sorted(times)[len(times) // 4])
    return max(1, min(MAX_RUNS, round(block_ms * 1e6 / typical_ns)))


def _time(run: Callable[[], None], count: int, prime: Callable[[], None]) -> tuple[int, ...]:
    run()
    latencies_ns = [0] * count
    for number in range(count):
        prime()
        start = now_ns()
        run()
        latencies_ns[number] = now_ns() - start
    return tuple(latencies_ns)


def _paced(run: Callable[[], None], count: int, pause_ns: int) -> tuple[int, ...]:
    latencies_ns = []
    due = now_ns()
    for _ in range(count + 1):
        time.sleep(max(0, due - now_ns()) / 1e9)
        start = now_ns()
        run()
        latencies_ns.append(now_ns() - start)
        due = max(due, start) + pause_ns
    return tuple(latencies_ns[1:])
