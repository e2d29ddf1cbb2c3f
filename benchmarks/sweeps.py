"""One target with several numbers of threads and batch sizes: which there are, the curve, and its knee."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.pages.words import plural
from benchmarks.tables import figure
from devices.fleet import Fleet
from profiles.errors import InputError
from profiles.knee import knee
from profiles.records import Profile, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One model on one target: ``points`` by threads and batch; ``knee`` is the index of one of them."""

    model: str
    target: str
    points: tuple[Profile, ...]
    knee: int | None

    def knee_to_dict(self) -> dict[str, Any] | None:
        """JSON-ready."""
        if self.knee is None:
            return None
        at = self.points[self.knee]
        return {
            "model": self.model,
            "target": self.target,
            "threads": at.target.threads,
            "batch": at.target.batch,
            "latency_ms": at.latency_ms_calibrated,
            "throughput_per_s": per_s(at),
        }


def parse(sweeps: Sequence[str]) -> list[list[tuple[str, int]]]:
    """'threads=1,2' -> [("threads", 1), ("threads", 2)], for each axis. Raises InputError."""
    axes: dict[str, list[tuple[str, int]]] = {}
    for text in sweeps:
        match = re.fullmatch(r"(threads|batch)=(\d+(?:,\d+)*)", text)
        if match is None or match[1] in axes:
            accepted = "threads=1,2,4 or batch=1,8, each once"
            raise InputError(f"--sweep: given {text!r}; accepted: {accepted}")
        axes[match[1]] = [(match[1], int(value)) for value in match[2].split(",")]
    return list(axes.values())


def swept(target: Target, sweeps: Sequence[str], fleet: Fleet) -> list[Target]:
    """Every combination; without sweeps the target itself. Raises InputError."""
    kept = ("threads", "batch", "precision", "max_fallback")
    fixed = {key: getattr(target, key) for key in kept}
    return [fleet.target(target.name, fixed | dict(chosen)) for chosen in itertools.product(*parse(sweeps))]


def curves(profiles: Iterable[Profile]) -> list[Curve]:
    """Of each model and target that was measured with more than one setting."""
    found: dict[tuple[str, str], list[Profile]] = {}
    for one in profiles:
        found.setdefault((one.model, one.target.name), []).append(one)
    return [
        Curve(model=model, target=target, points=tuple(points), knee=_knee(points))
        for (model, target), measured in found.items()
        if len(points := sorted(measured, key=lambda one: (one.target.threads, one.target.batch))) > 1
    ]


def knees(found: Iterable[Curve]) -> list[dict[str, Any]]:
    """JSON-ready."""
    return [knee for curve in found if (knee := curve.knee_to_dict())]


def told(curve: Curve) -> str:
    """One line for people."""
    who = f"{curve.model} on {curve.target}"
    at = curve.knee_to_dict()
    if at is None:
        return f"{who}: no knee: fewer than three settings that no other beats, or none that stands out"
    where = f"{plural(at['threads'], 'thread')}, batch {at['batch']}"
    return f"{who}: the knee is at {where}: {figure(at['throughput_per_s'])} per s at {figure(at['latency_ms'])} ms"


def per_s(one: Profile) -> float:
    """Inferences of one caller, by the calibrated latency: settings are measured minutes apart."""
    return one.target.batch / one.latency_ms_calibrated * 1e3


def _knee(points: Sequence[Profile]) -> int | None:
    return knee([per_s(one) for one in points], [one.latency_ms_calibrated for one in points])
