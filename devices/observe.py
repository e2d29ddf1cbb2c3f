"""Passes that are taken when asked for. Each in a fresh process of its own, since one disturbs the other.

callers       throughput of several callers at once, each with a session of its own
sustain       back to back for minutes: latency, frequency, temperature and throttling over time
operators     time of each operator, with the engine's own profiling on: never in the same process as a latency
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from devices import disturbance
from devices.loading import engine_of, feeds_of, prime_of
from devices.protocol import Record
from profiles.clock import now_ns
from profiles.errors import MeasurementError, UnavailableError

_WINDOWS = 10
_LEAST_RUNS = 3  # of one caller in a window
OPERATOR_RUNS = 50


def count_callers(request: Record) -> Record:
    """``callers`` threads call as fast as they can, for ``seconds`` in all, in 10 windows; longer where a window would
    hold less than 3 runs.

    ``throughput_per_s``: inferences (runs x batch) of all callers, one value for each window.
    """
    engine, target = engine_of(request)
    models = []
    for number in range(request["callers"]):
        model = engine.load(Path(request["model"]), target)
        model.bind(feeds_of(model, target, {**request, "seed": request.get("seed", 0) + number}))
        models.append(model)
    start = now_ns()
    models[0].run()  # bind has run each once: that one may compile
    run_s = (now_ns() - start) / 1e9
    counts = [0] * len(models)
    failures: list[BaseException] = []
    stop = threading.Event()

    def call(number: int, run: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                run()
                counts[number] += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(n, model.run), daemon=True) for n, model in enumerate(models)]
    for thread in threads:
        thread.start()
    stop.wait(request["warm_up_ms"] / 1e3)
    found = []
    window_s = max(request["seconds"] / _WINDOWS, _LEAST_RUNS * run_s)
    for _ in range(_WINDOWS):
        start, before = now_ns(), sum(counts)
        stop.wait(window_s)
        found.append((sum(counts) - before) * target.batch / ((now_ns() - start) / 1e9))
    stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise MeasurementError(f"a caller failed: {failures[0]}")
    return {"throughput_per_s": found}


def sustain(request: Record) -> Record:
    """For ``seconds`` back to back, primed as in ``blocks.arm``. ``windows``: of each ``window_s`` its end in s, p50
    and p90 of its times in ns, how many, frequency and temperature at its end, why it counts as disturbed.
    """
    engine, target = engine_of(request)
    model = engine.load(Path(request["model"]), target)
    model.bind(feeds_of(model, target, request))
    run, reading, prime = model.run, disturbance.Sources().read, prime_of(request)
    begin = now_ns()
    end, window_ns = begin + round(request["seconds"] * 1e9), round(request["window_s"] * 1e9)
    windows: list[list[Any]] = []
    before = reading()
    while now_ns() < end:
        times: list[int] = []
        until = now_ns() + window_ns
        while now_ns() < until:
            prime()
            start = now_ns()
            run()
            times.append(now_ns() - start)
        after = reading()
        p50, p90 = (float(value) for value in np.percentile(times, [50, 90]))
        seconds = (after.time_ns - begin) / 1e9
        why = disturbance.reasons(before, after)
        windows.append([seconds, p50, p90, len(times), after.frequency_khz, after.temperature_mc, why])
        before = after
    return {"windows": windows}


def time_operators(request: Record) -> Record:
    """``operators``: for each node that ran [name, type, provider, median ns], in order; in the time of a run."""
    engine, target = engine_of(request)
    model = engine.load(Path(request["model"]), target, trace=True)
    operators = getattr(model, "operators", None)
    if operators is None:
        raise UnavailableError(f"engine {target.engine} does not say how long each operator takes")
    model.bind(feeds_of(model, target, request))
    for _ in range(OPERATOR_RUNS):
        model.run()
    return {"operators": operators()}


OPERATIONS: dict[str, Callable[[Record], Record]] = {
    "callers": count_callers,
    "sustain": sustain,
    "operators": time_operators,
}
