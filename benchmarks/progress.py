"""A search as it happens: a live display on a terminal, plain lines where stderr is piped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.live import live
from benchmarks.tables import duration, figure
from nas import pareto
from nas.generators import Limit, Objective
from nas.journal import Listener, Trial, apply
from nas.results import random_phase
from nas.study import Study

_STATES = ("proposed", "profiled", "training", "completed", "early_stopped", "gated", "failed")


@contextmanager
def shown(study: Study) -> Iterator[Listener]:
    """A listener that draws on stderr until the block ends."""
    view = _View(study)
    with live(view.draw) as tell:

        def hear(kind: str, trial: int | None, data: Mapping[str, Any]) -> None:
            line = view.hear(kind, trial, data)
            tell([line] if line else [], at_once=kind != "tick")

        yield hear


class _View:
    """What the events add up to."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._objectives = tuple(Objective(name=o.metric, goal=o.goal, threshold=o.threshold) for o in study.objective)
        self._limits: tuple[Limit, ...] = ()
        self._trials: dict[int, Trial] = {}
        self._scouted = 0
        self._recalled = 0  # trials that ended before this call of the search
        self._began = time.monotonic()
        self._doing = "setting up"

    def hear(self, kind: str, index: int | None, data: Mapping[str, Any]) -> str | None:
        """Take the event in; a line for those that a person may want to scroll back to."""
        if kind == "recalled":
            for event in data["events"]:
                self.hear(event.kind, event.trial, event.data)
            self._recalled = self._ended()
            return None
        if kind == "started":
            self._limits = tuple(Limit(name=one["name"], op=one["op"], bound=one["bound"]) for one in data["limits"])
        self._scouted += kind == "scouted"
        apply(self._trials, kind, index, data)
        self._doing = _DOING.get(kind, self._doing).format(index)
        return self._line(kind, index, data)

    def _line(self, kind: str, index: int | None, data: Mapping[str, Any]) -> str | None:
        names = [o.name for o in self._objectives]
        match kind:
            case "device" | "cluster":
                return str(data["reason"])
            case "calibrating":
                return f"calibrating {', '.join(data['targets'])}"
            case "started":
                bounds = ", ".join(f"{limit.name} {limit.op} {figure(limit.bound)}" for limit in self._limits)
                return f"limits: {bounds}" if bounds else None
            case "resumed":
                return f"resumed with {len(self._trials)} trials"
            case "profiled":
                return f"trial {index}: " + self._figures(data["metrics"], data["sems"], names)
            case "training":
                return f"trial {index}: was trained before, in {data['earlier']}" if data.get("earlier") else None
            case "gated":
                return f"trial {index}: not trained: {data['reason']}"
            case "early_stopped":
                return f"trial {index}: stopped early: {data['reason']}"
            case "completed":
                word = "scored" if data.get("train_s") is None else "trained"  # a baseline's file is there already
                return f"trial {index}: {word}: " + self._figures(data["metrics"], {}, names)
            case "failed":
                return f"trial {index}: failed: {data['step']}: {data['reason']}"
            case "taken_over":
                return f"trial {index}: taken over from a controller that is gone"
            case "retried":
                return f"trial {index}: trained again: {data['reason']}"
            case "fell_back":
                return f"generator: {data['reason']}"
            case "confirming":
                return f"confirming the front: trials {', '.join(map(str, data['trials']))}"
            case "reporting":
                return "writing the report and Ax's view"
            case "finished":
                return f"done: {data['reason']}"
            case "unreported":
                return f"no report: {data['reason']}"
        return None

    def _figures(self, metrics: Mapping[str, float], sems: Mapping[str, float], names: list[str]) -> str:
        found = [f"{name} {figure(metrics[name], sems.get(name))}" for name in names if name in metrics]
        return ", ".join(found) or "measured"

    def draw(self) -> Any:
        """At most 80 columns and a handful of lines."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_row("trials", self._counts())
        if self._study.search.scouting:
            grid.add_row("scouted", f"{self._scouted} of {self._study.search.scouting} at most")
        grid.add_row("best", self._best())
        if (volume := self._hypervolume()) is not None:
            grid.add_row("hypervolume", f"{volume:.4g}")
        grid.add_row("now", f"{self._doing}; {duration(time.monotonic() - self._began)} so far{self._left()}")
        return grid

    def _counts(self) -> str:
        states = [trial.state for trial in self._trials.values()]
        parts = [f"{states.count(state)} {state.replace('_', ' ')}" for state in _STATES if state in states]
        budget = self._study.budget.trials
        return f"{len(states)}{f' of {budget}' if budget else ''}: " + (", ".join(parts) or "none yet")

    def _rows(self) -> list[dict[str, float]]:
        return [trial.metrics for trial in self._trials.values() if trial.state == "completed"]

    def _best(self) -> str:
        first = self._objectives[0]
        rows = [
            row for row in self._rows() if pareto.keeps(row, self._limits) and pareto.complete(row, self._objectives)
        ]
        if not rows:
            return "none yet"
        best = (max if first.goal == "max" else min)(rows, key=lambda row: row[first.name])
        return ", ".join(f"{o.name} {figure(best[o.name])}" for o in self._objectives)

    def _hypervolume(self) -> float | None:
        rows = self._rows()
        first = [trial.metrics for trial in random_phase(self._trials.values(), self._study)]
        reference = pareto.reference_point(first, self._objectives, self._limits)
        return (
            None
            if reference is None or not rows
            else pareto.hypervolume(rows, self._objectives, reference, self._limits)
        )

    def _left(self) -> str:
        here, budget = self._ended() - self._recalled, self._study.budget.trials
        if not budget or here < 2:
            return ""
        left = (time.monotonic() - self._began) / here * (budget - self._ended())
        return f", about {duration(left)} left before the front is confirmed"

    def _ended(self) -> int:
        return sum(trial.ended for trial in self._trials.values())


_DOING = {
    "calibrating": "calibrating",
    "started": "proposing",
    "proposed": "proposing",
    "measuring": "measuring trial {}",
    "scouting": "measuring a candidate that is not trained",
    "scouted": "training",
    "profiled": "training",
    "training": "training",
    "confirming": "training the front again",
    "measuring_front": "measuring the front again",
    "writing": "writing the results",
    "reporting": "writing the report",
}
