"""The series of one model on one target: what its profiles said over time, in which environments, and what changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiles import changepoints
from profiles.errors import InputError
from profiles.records import METRICS, SCHEMA, Profile
from profiles.store import clock_of
from profiles.verdicts import FLOOR

WATCHED = (*METRICS, "model_size_mb", "first_run_ms")
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One profile. ``value`` is in the metric's unit, ``None`` where it was not measured."""

    time: str
    model: str
    digest: str
    environment: int  # counted from 1, in the order in which they came first
    value: float | None
    ci95: tuple[float, float] | None
    level: float | None  # what changes are looked for in: of latency_ms the ratio to calibration, else the value
    level_sem: float | None
    flags: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """For change points, which are looked for in logarithms."""
        return self.level is not None and self.level > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A device in one state with one target's settings. ``changes``: field -> (before, now), against the one before."""

    number: int
    since: str
    device: Mapping[str, Any]
    changes: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From the point ``index`` on. ``before`` and ``after`` are levels as in ``Point``; above 0 % is more."""

    index: int
    time: str
    environment: int
    before: float
    after: float
    percent: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Oldest first."""

    model: str
    target: str
    metric: str
    floor: float
    points: Sequence[Point]
    environments: Sequence[Environment]
    changes: Sequence[Change]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: docs/schema/history.json."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def history(
    profiles: Sequence[Profile], *, model: str, target: str, metric: str = "latency_ms", floor: float = FLOOR
) -> History:
    """``profiles``: of one model, by name or by file, on one target; ``floor``: smaller changes do not count.

    A changed fingerprint, setting, pace or input shape starts a new series, and change points lie within one series;
    so a step that came with a new runtime is seen as two environments, not as a change of the model. Points without a
    value, or with one that is not above 0, have no part in change points. Raises InputError on an unknown metric.
    """
    if metric not in WATCHED:
        raise InputError.of("history", "--metric", metric, ", ".join(WATCHED))
    ordered = sorted(profiles, key=lambda one: one.time)
    keys = [(clock_of(one.device, one.target, one.calibration.digest), *_asked(one).values()) for one in ordered]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys), start=1)}
    points = [_point(one, numbers[key], metric) for one, key in zip(ordered, keys, strict=True)]
    return History(
        model=model,
        target=target,
        metric=metric,
        floor=floor,
        points=points,
        environments=_environments([ordered[keys.index(key)] for key in numbers]),
        changes=_changes(points, floor),
    )


def _point(one: Profile, environment: int, metric: str) -> Point:
    value, sem = one.metric(metric) if metric in METRICS else (getattr(one, metric), None)
    # What divides the value is the same for all of an environment, except after a recalibration.
    unit = one.calibration.reference_ms if metric == "latency_ms" else 1.0
    interval = one.latency_ms_ci95 if metric == "latency_ms" else None
    if interval is None and value is not None and sem is not None:
        interval = (value - _NORMAL_95 * sem, value + _NORMAL_95 * sem)
    return Point(
        time=one.time,
        model=one.model,
        digest=one.digest,
        environment=environment,
        value=value,
        ci95=interval,
        level=None if value is None else value / unit,
        level_sem=None if sem is None else sem / unit,
        flags=one.flags,
    )


def _environments(firsts: Sequence[Profile]) -> list[Environment]:
    """``firsts``: the first profile of each."""
    found: list[Environment] = []
    before: dict[str, Any] = {}
    for number, one in enumerate(firsts, start=1):
        now = _described(one)
        fields = [name for name in {**before, **now} if before.get(name) != now.get(name)] if before else []
        changes = {name: (before.get(name), now.get(name)) for name in fields}
        found.append(Environment(number=number, since=one.time, device=one.device, changes=changes))
        before = now
    return found


def _described(one: Profile) -> dict[str, Any]:
    """All that an environment is made of, flat: {"kernel": "6.1", "onnxruntime": "1.32.0", "threads": 1, ...}."""
    settings = {"device": one.target.device} | one.target.settings
    settings["interpreter"] = settings.pop("python")  # among the versions, python is Python's
    flat: dict[str, Any] = {name: value for name, value in one.device.items() if name != "versions"}
    versions: dict[str, Any] = one.device.get("versions", {})
    return flat | versions | settings | {"calibration model": one.calibration.digest[:12]} | _asked(one)


def _asked(one: Profile) -> dict[str, Any]:
    """How the model was run, where that was not the usual way."""
    shapes = ", ".join(f"{name} {'x'.join(map(str, sizes))}" for name, sizes in sorted(one.shapes.items()))
    return {"interval_ms": one.interval_ms, "shapes": shapes or None}


def _changes(points: Sequence[Point], floor: float) -> list[Change]:
    usable = [index for index, point in enumerate(points) if point.usable]
    found = []
    for places in changepoints.by_environment([points[index].environment for index in usable]):
        series = [usable[place] for place in places]
        logs, errors = zip(*(_logarithm(points[index]) for index in series), strict=True)
        for one in changepoints.change_points(logs, errors, floor=floor):
            point = points[series[one.index]]
            found.append(
                Change(
                    index=series[one.index],
                    time=point.time,
                    environment=point.environment,
                    before=math.exp(one.before),
                    after=math.exp(one.after),
                    percent=one.percent,
                    p_value=one.p_value,
                )
            )
    return sorted(found, key=lambda change: change.index)


def _logarithm(point: Point) -> tuple[float, float]:
    """With its standard error, NaN where there is none. Raises ValueError without a level, which callers exclude."""
    if point.level is None:
        raise ValueError("a point without a level has no logarithm")
    return math.log(point.level), math.nan if point.level_sem is None else point.level_sem / point.level
