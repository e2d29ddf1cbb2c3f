"""What is measured beside a profile when asked for: harness cost, operators, several callers, a sustained load.

Each function returns fields of a ``Profile``, to be put into one with ``dataclasses.replace``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from devices import onnxfile
from devices.measure import feeding, shipped_ms
from devices.plan import PRECISE, WARM_UP_MS, Job
from devices.protocol import Record
from devices.session import Session
from profiles.errors import InputError
from profiles.records import Profile, Target

_HARNESS_MS = 20.0
_CALLERS_S = 3.0
_SETTLED = 0.02  # windows within this share of the steady state belong to it
_LEAST_WINDOWS = 10


def harness_us(session: Session, target: Target) -> float:
    """What a call costs when the model does nothing (it copies one number): median in us. Never subtracted."""
    return 1e3 * shipped_ms(session, target, "empty", groups=2, block_ms=_HARNESS_MS)


def operators(
    session: Session, job: Job, target: Target, *, deadline_s: float = PRECISE.deadline_s
) -> tuple[dict[str, Any], ...]:
    """For each node that ran: name, operator, provider, time_ms and its share of all; with profiling on, which takes
    time of its own. Raises UnavailableError where the engine cannot say.
    """
    answer = _request(session, "operators", job, target, deadline_s=deadline_s)
    total = sum(time_ns for *_, time_ns in answer["operators"]) or 1.0
    return tuple(
        {"name": name, "operator": kind, "provider": provider, "time_ms": ns / 1e6, "share": ns / total}
        for name, kind, provider, ns in answer["operators"]
    )


def fallback_time(profile: Profile) -> dict[str, Any]:
    """The fields that say which share of the time ran on another provider than asked for, in percent.

    From ``profile.operators``; 0 where no node ran elsewhere. ``None`` with the reason where nodes did and their times
    were not taken.
    """
    if not profile.fallen_back:
        return {"fallback_time_percent": 0.0}
    if not profile.operators:
        reason = "nodes fell back, and the times of single operators were not taken (hwnas profile --operators)"
        return {"missing": profile.missing | {"fallback_time_percent": reason}}
    elsewhere = sum(one["share"] for one in profile.operators if one["provider"] != profile.target.provider)
    return {"fallback_time_percent": 100 * elsewhere}


def concurrent(
    session: Session, job: Job, target: Target, callers: int, *, deadline_s: float = PRECISE.deadline_s
) -> dict[str, Any]:
    """Throughput of ``callers`` at once, over 3 s: mean and standard deviation of ten windows, in inferences per s."""
    check_callers(callers)
    how = {"callers": callers, "seconds": _CALLERS_S, "deadline_s": deadline_s + _CALLERS_S}
    answer = _request(session, "callers", job, target, **how)
    found = np.array(answer["throughput_per_s"])
    return {
        "callers": callers,
        "throughput_per_s": float(found.mean()),
        "throughput_per_s_sd": float(found.std(ddof=1)),
    }


def check_callers(callers: int) -> None:
    """Raises InputError."""
    if callers < 1:
        raise InputError(f"--callers: given {callers}; accepted: a whole number from 1")


def check_sustain(seconds: float) -> None:
    """Raises InputError."""
    if not seconds >= 1:
        raise InputError(f"--sustain: given {seconds:g} s; accepted: from 1s, such as 30s or 10m")


def sustained(
    session: Session, job: Job, target: Target, seconds: float, *, deadline_s: float = PRECISE.deadline_s
) -> dict[str, Any]:
    """Back to back for ``seconds``, in at least 10 windows of at most 1 s.

    ``steady_ms``: median of the last quarter of the windows; ``steady_from_s``: the moment from which every window
    stays within 2 % of it, ``None`` where none does; ``slowdown``: steady / the median of the first three windows;
    ``windows``: time_s, p50_ms, p90_ms, samples, frequency_mhz, temperature_c and why it was disturbed.
    """
    check_sustain(seconds)
    window_s = min(1.0, seconds / _LEAST_WINDOWS)
    how = {"seconds": seconds, "window_s": window_s, "deadline_s": deadline_s + seconds}
    answer = _request(session, "sustain", job, target, **how)
    return {"seconds": seconds, **steady([_window(window) for window in answer["windows"]])}


def steady(windows: list[dict[str, Any]]) -> dict[str, Any]:
    times = np.array([window["p50_ms"] for window in windows])
    last = float(np.median(times[-max(1, len(times) // 4) :]))
    # A running median of three, so that one disturbed second does not count as a change.
    smooth = np.array([np.median(times[max(0, n - 1) : n + 2]) for n in range(len(times))])
    apart = np.flatnonzero(np.abs(smooth / last - 1) > _SETTLED)
    first = 0 if len(apart) == 0 else int(apart[-1]) + 1
    begin_s = 0.0 if first == 0 else windows[first - 1]["time_s"]
    return {
        "steady_ms": last,
        "steady_from_s": begin_s if first < len(windows) else None,
        "slowdown": last / float(np.median(times[:3])),
        "throttled_windows": sum(bool({"throttled", "slowed"} & set(window["reasons"])) for window in windows),
        "windows": windows,
    }


def _window(found: list[Any]) -> dict[str, Any]:
    seconds, p50, p90, samples, khz, millidegrees, reasons = found
    return {
        "time_s": round(seconds, 3),
        "p50_ms": p50 / 1e6,
        "p90_ms": p90 / 1e6,
        "samples": samples,
        "frequency_mhz": None if khz is None else khz / 1e3,
        "temperature_c": None if millidegrees is None else millidegrees / 1e3,
        "reasons": reasons,
    }


def _request(session: Session, operation: str, job: Job, target: Target, **how: Any) -> Record:
    return session.request(
        operation,
        **{
            "target": target.to_dict(),
            "model": session.put(job.model, onnxfile.external_files(job.model)),
            "seed": 0,
            "warm_up_ms": WARM_UP_MS,
            **feeding(session, job),
            **how,
        },
    )
