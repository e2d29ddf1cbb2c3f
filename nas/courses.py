"""What a running search knows, in the form in which ``nas.stopping`` decides on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nas import pareto
from nas.folder import RunFolder
from nas.generators import Limit, Objective
from nas.journal import BASELINE, Trial
from nas.stopping import Course, Stop, early, stalled
from nas.study import Search
from nas.training.curves import Known, read_curves

_EVERY_S = 1.0


class Courses:
    """Curves of completed trainings are read once; of those of running ones what is new, at most every second."""

    def __init__(self, folder: RunFolder, objectives: Sequence[Objective], limits: Sequence[Limit]) -> None:
        self._folder = folder
        self._objectives = objectives
        self._limits = limits
        self._completed: dict[int, Course] = {}
        self._read: dict[Path, Known] = {}  # the folder of a running job -> what was read there
        self._looked = 0.0

    def to_stop(self, trials: Sequence[Trial]) -> list[tuple[Trial, Stop]]:
        """Those trainings of ``trials`` that should end now. The incumbent is always trained to its end."""
        running = [trial for trial in trials if trial.state == "training" and trial.source != BASELINE]
        if not running or time.monotonic() - self._looked < _EVERY_S:
            return []
        self._looked = time.monotonic()
        self._read = {self._job(trial): self._read.get(self._job(trial), {}) for trial in running}
        for trial in trials:
            if trial.state == "completed" and trial.index not in self._completed:
                self._completed[trial.index] = self._course(trial)
        completed = list(self._completed.values())
        stops = [(trial, early(self._course(trial), completed, self._objectives, self._limits)) for trial in running]
        return [(trial, stop) for trial, stop in stops if stop is not None]

    def _course(self, trial: Trial) -> Course:
        curves = read_curves(self._job(trial), self._read.get(self._job(trial)))
        return Course(trial=trial.index, metrics=trial.metrics, curves=curves, epochs=trial.choices.get("epochs"))

    def _job(self, trial: Trial) -> Path:
        return self._folder.trial(trial.index).retry(trial.attempt)


def stall(
    trials: Sequence[Trial], search: Search, objectives: Sequence[Objective], limits: Sequence[Limit]
) -> str | None:
    """Why the whole search should end, or ``None``; ``trials`` in the order of their numbers.

    Gated and failed ones do not count: they say nothing of what training still finds.
    """
    rule = search.global_stopping
    trained = [trial for trial in trials if trial.state in ("completed", "early_stopped")]
    if rule is None or len(trained) < search.initial_trials + rule.window:
        return None
    random_phase = _completed([trial for trial in trained if trial.index < search.initial_trials])
    reference = pareto.reference_point(random_phase, objectives, limits)
    if reference is None:
        return None
    parts = (trained[: -rule.window], trained)
    before, now = (pareto.hypervolume(_completed(part), objectives, reference, limits) for part in parts)
    return stalled(before, now, window=rule.window, bar=rule.bar)


def _completed(trials: Sequence[Trial]) -> list[dict[str, float]]:
    return [trial.metrics for trial in trials if trial.state == "completed"]
