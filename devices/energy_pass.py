"""Runs a model in windows while a meter is read. A pass of its own: reading a meter disturbs timing.

    warm-up, rest, idle, [pause, lead-in, window, lead-out] x 5, rest, idle

The pause takes 0 to 1 sensor periods at random, so that inferences fall on other phases of the sensor in each window:
one that looks away for a part of its period is then wrong by a different amount each time, which the spread shows. The
lead-in takes 2 periods of inferences, after which the sensor shows the load alone. Counters are read at the edges of
each stretch, never within. Power is read by a thread at twice the sensor's pace, idle stretches included, so that what
reading costs is removed with idle.

A counter whose steps can be watched is read by such a thread too. At each step it is exact, and the load is the same
from before a window's first step to after its last, which is what the lead-out is for, so between two steps it rises
evenly. Where a step next to an edge was seen late, the stretch counts as disturbed.

A window in which something else used the machine is followed by one more, up to twice as many in all.
"""

from __future__ import annotations

import bisect
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from devices import disturbance
from devices.energy import MIN_PERIODS
from devices.meters import Meter, Reading, Sensor
from devices.protocol import Record
from profiles.clock import now_ns
from profiles.errors import MeasurementError

LEAST_WINDOW_S = 0.5
PERIODS = 1.02 * MIN_PERIODS  # in a window: somewhat more than are needed
LEAD_IN_PERIODS = 2
STEPS = 20  # of a counter that is watched, in each stretch
_LEAD_IN_STEPS, _LEAD_OUT_STEPS = 5, 2
_WATCHED_REST_S = 2.0  # such counters are those of GPUs, whose clocks fall late
_LOOKS = 4  # within the time by which a step may be seen late
_REST_S = 0.5
_LEAST_INTERVAL_S = 0.002  # between two readings of power
_LAST_READING_S = 2.0


def take(
    run: Callable[[], None], meter: Meter, *, windows: int, max_window_s: float, warm_up_s: float, seed: int
) -> Record:
    """What ``energy.of_readings`` takes, JSON-ready: ``readings`` [[time_s, value]...], ``windows`` [[start_s, end_s,
    disturbed, runs]...], two of ``idle`` [start_s, end_s, disturbed], and what the sensor is. ``disturbed`` is 0 or 1.

    Raises UnavailableError (no meter) and MeasurementError (it fails, or needs windows longer than ``max_window_s``).
    """
    sensor = meter.open()
    try:
        window_s = max(LEAST_WINDOW_S, PERIODS * sensor.period_s, STEPS * sensor.pace_s)
        if window_s > max_window_s:
            raise MeasurementError(
                f"{sensor.label}: its values change every {sensor.pace_s or sensor.period_s:g} s, which takes windows"
                f" of {window_s:.3g} s; accepted: up to {max_window_s:g} s"
            )
        return _described(sensor) | _stretches(run, sensor, windows, window_s, warm_up_s, random.Random(seed))
    finally:
        sensor.close()


def probe(meter: Meter) -> Record:
    """What the sensor is, after one reading. Raises as ``Meter.open`` and ``Sensor.read`` do."""
    sensor = meter.open()
    try:
        sensor.read()
        return _described(sensor)
    finally:
        sensor.close()


def _described(sensor: Sensor) -> Record:
    return {
        "meter": sensor.label,
        "quantity": sensor.quantity,
        "period_s": sensor.period_s,
        "pace_s": sensor.pace_s,
        "flags": list(sensor.flags),
    }


def _stretches(
    run: Callable[[], None],
    sensor: Sensor,
    windows: int,
    window_s: float,
    warm_up_s: float,
    generator: random.Random,
) -> dict[str, Any]:
    rest_s = _WATCHED_REST_S if sensor.pace_s else max(_REST_S, 2 * sensor.period_s)
    after_s = _LEAD_OUT_STEPS * sensor.pace_s
    _work(run, warm_up_s)
    with _Readings(sensor) as readings:
        time.sleep(rest_s)
        idle = [_idle(readings, window_s, after_s)]
        found: list[list[float]] = []
        while len(found) < 2 * windows and sum(not disturbed for _, _, disturbed, _ in found) < windows:
            time.sleep(generator.random() * max(sensor.period_s, sensor.pace_s))
            sensor.running(True)
            _work(run, max(LEAD_IN_PERIODS * sensor.period_s, _LEAD_IN_STEPS * sensor.pace_s))
            start_s = readings.edge()
            runs = _work(run, window_s)
            end_s, disturbed = readings.edge(), readings.disturbed
            if after_s:
                _work(run, after_s)
            sensor.running(False)
            found.append([start_s, end_s, int(disturbed or readings.late(start_s, end_s)), runs])
        time.sleep(rest_s)
        idle.append(_idle(readings, window_s, after_s))
        readings.wait_until(idle[1][1])
    shift_s = sensor.shift_s()
    return {"windows": found, "idle": idle, "readings": [[time_s + shift_s, value] for time_s, value in readings.all]}


def _idle(readings: _Readings, seconds: float, after_s: float) -> list[float]:
    start_s = readings.edge()
    time.sleep(seconds)
    end_s, disturbed = readings.edge(), readings.disturbed
    time.sleep(after_s)
    return [start_s, end_s, int(disturbed or readings.late(start_s, end_s))]


def _work(run: Callable[[], None], seconds: float) -> int:
    """Inferences back to back for at least that long, at least one; how many."""
    end, runs = now_ns() + seconds * 1e9, 0
    while runs == 0 or now_ns() < end:
        run()
        runs += 1
    return runs


class _Readings:
    """All readings of a sensor from ``with`` on. What goes wrong in the thread is raised at the next edge."""

    def __init__(self, sensor: Sensor) -> None:
        self.all: list[Reading] = []
        self.disturbed = False  # did something else use the machine between the last two edges?
        self._sensor = sensor
        self._watched = sensor.pace_s > 0
        self._steps: list[tuple[float, float]] = []  # of a watched counter: when, and how late it may have been seen
        self._ended = threading.Event()
        self._look = disturbance.Sources().read
        self._seen = self._look()
        self._error: Exception | None = None
        polled = self._watched or sensor.quantity == "power_w"
        self._thread = threading.Thread(target=self._poll, daemon=True) if polled else None

    def __enter__(self) -> _Readings:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()

    def edge(self) -> float:
        """Now, in s; a counter is read, and then it is the moment of that reading."""
        if self._error is not None:
            raise self._error
        before, self._seen = self._seen, self._look()
        self.disturbed = bool(disturbance.reasons(before, self._seen, busy=False))  # idle stretches are not
        if self._thread is not None:
            return now_ns() / 1e9
        self.all += self._sensor.read()
        return self.all[-1][0]

    def late(self, *edges_s: float) -> bool:
        """Was a step next to one of these moments seen later than the sensor says? Of a watched counter."""
        if not self._watched:
            return False
        when = [step_s for step_s, _ in self._steps]
        for edge_s in edges_s:
            after = bisect.bisect_right(when, edge_s)
            around = self._steps[max(0, after - 1) : after + 1]
            if len(around) < 2 or any(late_s > self._sensor.period_s for _, late_s in around):
                return True
        return False

    def wait_until(self, time_s: float) -> None:
        """Until a reading of that time is there; some meters are late. What is still missing then is seen later."""
        end = now_ns() + (_LAST_READING_S + 2 * max(self._sensor.period_s, self._sensor.pace_s)) * 1e9
        while self._thread and now_ns() < end and not (self.all and self.all[-1][0] + self._sensor.shift_s() > time_s):
            if self._error is not None:
                raise self._error
            time.sleep(self._interval_s)

    @property
    def _interval_s(self) -> float:
        return max(_LEAST_INTERVAL_S, self._sensor.period_s / (_LOOKS if self._watched else 2))

    def _poll(self) -> None:
        looked_s = now_ns() / 1e9
        try:
            while not self._ended.wait(self._interval_s):
                found, before_s, looked_s = self._sensor.read(), looked_s, now_ns() / 1e9
                if not self._watched:
                    self.all += found
                elif not self.all or found[-1][1] != self.all[-1][1]:
                    self.all.append(found[-1])
                    self._steps.append((found[-1][0], looked_s - before_s))
        except Exception as error:
            self._error = error
