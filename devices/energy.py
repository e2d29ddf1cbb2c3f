"""Energy per inference from a meter's readings. Free functions over arrays; numpy alone.

    E = (E_window - P_idle x T_window) / n

P_idle is the mean power of two idle stretches, one before and one after the windows, with the model loaded. A window is
a stretch in which inferences run back to back, n of them. Figures are refused, by MeasurementError with the reason,
where they would mislead: see ``check``.

Source of the rules: docs/energy.md. Not covered: what no reading shows, such as the power of other programs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiles.errors import MeasurementError

Array = npt.NDArray[np.float64]

MIN_PERIODS = 100  # sensor periods in each stretch: a value held for one period moves an edge by 1 % at most
MAX_IDLE_CHANGE = 0.05
SLOWER = 1.5  # times its stated period: then a sensor's own pace counts, which readings show with some error
MAX_GAP = 0.2  # of a stretch without a reading
MIN_WINDOWS = 5
_MIN_CHANGES = 20  # below that, nothing is said about a sensor's own pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """``energy_mj`` is dynamic (idle removed), ``energy_total_mj`` is not; both for one inference.

    ``_sd`` is over windows. ``_sem`` is of the mean over windows and holds what an energy counter leaves open that
    stands still for a period and, for the dynamic energy, what the two idle readings leave open.
    """

    power_w: float
    power_w_sem: float
    idle_power_w: float
    energy_mj: float
    energy_mj_sd: float
    energy_mj_sem: float
    energy_total_mj: float
    energy_total_mj_sd: float
    energy_windows_mj: tuple[float, ...]  # dynamic, of each window


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """When what ran, on the clock of the readings, in s: windows (k, 2) with their runs (k,), and idle (2, 2)."""

    windows_s: Array
    runs: Array
    idle_s: Array

    @property
    def all_s(self) -> Array:
        return np.concatenate([self.idle_s, self.windows_s])


def of_readings(time_s: Array, value: Array, quantity: str, stretches: Stretches, period_s: float) -> Energy:
    """``value`` (n,) at ``time_s`` (n,) ascending: cumulative J for "energy_j", W for "power_w".

    Raises MeasurementError with the reason why there is no figure.
    """
    if quantity == "power_w":
        check_power(time_s, value, stretches)
        observed_s = observed_period_s(time_s, value)
        if observed_s > SLOWER * period_s:
            period_s = observed_s
    energy_j = energy_between(time_s, value, quantity, stretches.all_s)
    if quantity == "energy_j" and np.any(energy_j <= 0):
        raise MeasurementError("the meter's energy counter stood still for a whole stretch")
    idle_j, window_j = energy_j[:2], energy_j[2:]
    idle_s, length_s = _lengths(stretches.idle_s), _lengths(stretches.windows_s)
    idle_w = idle_j / idle_s
    check(stretches, idle_w, period_s)
    total_mj = window_j / stretches.runs * 1e3
    dynamic_mj = (window_j - np.mean(idle_w) * length_s) / stretches.runs * 1e3
    power_w = window_j / length_s
    # A counter that stands still for a period is behind by anything up to that, at both edges: two uniform errors. All
    # windows may share them, so their spread does not hold it.
    held_s = period_s / np.sqrt(6) if quantity == "energy_j" else 0.0
    power_sem_w = np.hypot(_sem(power_w), np.mean(power_w / length_s) * held_s / np.sqrt(len(power_w)))
    # Two readings of idle tell its mean no better than by half their distance.
    idle_sem_w = np.hypot(abs(idle_w[1] - idle_w[0]) / 2, np.mean(idle_w / idle_s) * held_s / np.sqrt(2))
    held_mj = np.mean(total_mj / length_s) * held_s / np.sqrt(len(total_mj))
    idle_mj = idle_sem_w * np.mean(length_s / stretches.runs) * 1e3
    return Energy(
        power_w=float(np.mean(power_w)),
        power_w_sem=float(power_sem_w),
        idle_power_w=float(np.mean(idle_w)),
        energy_mj=float(np.mean(dynamic_mj)),
        energy_mj_sd=float(np.std(dynamic_mj, ddof=1)),
        energy_mj_sem=float(np.sqrt(_sem(dynamic_mj) ** 2 + held_mj**2 + idle_mj**2)),
        energy_total_mj=float(np.mean(total_mj)),
        energy_total_mj_sd=float(np.std(total_mj, ddof=1)),
        energy_windows_mj=tuple(float(one) for one in dynamic_mj),
    )


def check(stretches: Stretches, idle_w: Array, period_s: float) -> None:
    """At least 5 windows; each stretch at least 100 sensor periods long; idle before and after within 5 %."""
    if len(stretches.windows_s) < MIN_WINDOWS:
        raise MeasurementError(f"{len(stretches.windows_s)} windows; at least {MIN_WINDOWS} are needed for a spread")
    shortest_s = float(np.min(_lengths(stretches.all_s)))
    if shortest_s < MIN_PERIODS * period_s:
        raise MeasurementError(
            f"a window of {shortest_s:.3g} s is too short: the meter's values change every {period_s:.3g} s,"
            f" and {MIN_PERIODS} of them are needed ({MIN_PERIODS * period_s:.3g} s)"
        )
    before_w, after_w = (float(one) for one in idle_w)
    change = abs(after_w - before_w) / max((abs(before_w) + abs(after_w)) / 2, 1e-12)
    if change > MAX_IDLE_CHANGE:
        raise MeasurementError(
            f"idle power moved by {100 * change:.1f} %, from {before_w:.4g} W before to {after_w:.4g} W after;"
            f" accepted: {100 * MAX_IDLE_CHANGE:g} %"
        )


def check_power(time_s: Array, power_w: Array, stretches: Stretches) -> None:
    """Readings all through each stretch, and not the same one under load and at rest after it."""
    for start_s, end_s in stretches.all_s:
        inside = time_s[(time_s > start_s) & (time_s < end_s)]
        gap_s = float(np.max(np.diff(np.concatenate([[start_s], inside, [end_s]]))))
        if gap_s > MAX_GAP * (end_s - start_s):
            raise MeasurementError(
                f"the meter gave no reading for {gap_s:.3g} s of a window of {end_s - start_s:.3g} s"
            )
    # Of a coarse sensor, which shows no difference at rest, those of one stretch may well be equal.
    from_load_on = power_w[time_s >= stretches.windows_s[0, 0]]
    if np.ptp(from_load_on) == 0:
        raise MeasurementError(
            f"the meter is stuck: all of its {len(from_load_on)} readings under load and after it are"
            f" {from_load_on[0]:.6g} W"
        )


def check_steps(time_s: Array, stretches: Stretches, pace_s: float) -> None:
    """Of a counter whose steps, at ``time_s``, are watched: those around each edge are not much further apart than its
    pace. It may step more slowly under load than it did at rest.
    """
    after = np.searchsorted(time_s, stretches.all_s.ravel(), side="right")
    if np.any(after == 0) or np.any(after == len(time_s)):
        raise MeasurementError("the meter's energy counter was not seen to step before and after each stretch")
    widest_s = float(np.max(time_s[after] - time_s[after - 1]))
    if widest_s > SLOWER * pace_s:
        raise MeasurementError(f"the meter's energy counter stepped {widest_s:.3g} s apart; its pace is {pace_s:.3g} s")


def energy_between(time_s: Array, value: Array, quantity: str, spans_s: Array) -> Array:
    """Energy in J within each [start, end] of ``spans_s`` (k, 2).

    Power is taken to go straight from one reading to the next. Nothing is added beyond the first and last reading.
    """
    joules = value
    if quantity == "power_w":
        steps = np.diff(time_s) * (value[1:] + value[:-1]) / 2
        joules = np.concatenate([[0.0], np.cumsum(steps)])
    edges = np.interp(spans_s, time_s, joules)
    return np.asarray(edges[:, 1] - edges[:, 0])


def observed_period_s(time_s: Array, value: Array) -> float:
    """How long a sensor holds a value: the 10th percentile of the times between changes; 0 with fewer than 20 changes.

    A value may stay the same by chance, which makes some of these times too long, not too short.
    """
    changed = time_s[1:][np.diff(value) != 0]
    return float(np.percentile(np.diff(changed), 10)) if len(changed) > _MIN_CHANGES else 0.0


def rise(before: int, after: int, range_: int | None) -> int:
    """How far a counter has risen that begins again from 0 at ``range_`` (``None``: never), once at most."""
    if after >= before:
        return after - before
    if range_ is None or before > range_:
        raise MeasurementError(f"the meter's energy counter fell from {before} to {after}")
    return after + range_ - before


def _lengths(spans_s: Array) -> Array:
    return np.asarray(spans_s[:, 1] - spans_s[:, 0])


def _sem(values: Array) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
