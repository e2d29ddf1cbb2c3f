"""What the page lets its reader choose among: limits and targets to filter by, and each trial's figures for that.

How it is done in the page: ``benchmarks/pages/templates/choose.js``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.pages.words import shown, titled
from nas.quality import modelled
from nas.results import Results

_ALSO = ("latency_ms", "energy_mj", "peak_memory_mb", "model_size_mb")  # where measured, objective or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A limit that the reader may set. ``least``: at least rather than at most. ``target``: "" if it has none."""

    title: str
    least: bool
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """``trials``: {"index", "front", "values"}, a value for each field, null if unmeasured. It is rounded as the page
    shows it, so that a bound read off the page keeps the trial it was read from."""

    fields: list[Field]
    targets: list[str]
    trials: list[dict[str, Any]]


def choosing(results: Results) -> Choosing | None:
    """``None`` where there is nothing to choose among."""
    names = _metrics(results)
    if len(results.trials) < 2 or not names:
        return None
    rising = {o.name for o in results.objectives if o.goal == "max"} | {
        limit.name for limit in results.limits if limit.op == ">="
    }
    fields = [Field(title=titled(name), least=name in rising, target=target_of(name)) for name in names]
    trials = [
        {
            "index": trial.index,
            "front": trial.index in results.front,
            "values": [
                None if (value := trial.metrics.get(name)) is None else shown(name, value, trial.sems.get(name))
                for name in names
            ],
        }
        for trial in results.trials
    ]
    return Choosing(fields=fields, targets=targets_of(names), trials=trials)


def targets_of(metrics: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(target for name in metrics if (target := target_of(name))))


def target_of(metric: str) -> str:
    """'latency_ms@pi5' -> 'pi5', 'val_accuracy' -> ''"""
    return metric.partition("@")[2]


def _metrics(results: Results) -> list[str]:
    measured = dict.fromkeys(name for trial in results.trials for name in trial.metrics)
    asked = [name for name in modelled(results) if name in measured]
    return list(dict.fromkeys([*asked, *(name for name in measured if name.partition("@")[0] in _ALSO)]))
