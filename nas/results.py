"""What a run folder says: the front, as records and as the files ``trials.csv``, ``pareto.csv`` and ``front/``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import account as accounts
from nas import pareto
from nas.baseline import against
from nas.folder import RunFolder
from nas.generators import Limit, Objective
from nas.journal import BASELINE, Trial, trials_of
from nas.run_store import open_store
from nas.study import Study, parameters_of
from nas.study_file import read_study
from profiles import files
from profiles.errors import InputError
from profiles.store import Event

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A run, finished or under way, as its files say. ``front`` holds trial indices."""

    study: Study
    folder: RunFolder
    events: list[Event]
    trials: list[Trial]
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]
    front: list[int]

    @property
    def started(self) -> Event:
        """With the targets and limits as they were when the search began."""
        return next(event for event in self.events if event.kind == "started")

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """As ``parameters_of`` gives them, of the space as it was then; it need not be importable now."""
        known: list[dict[str, Any]] | None = self.started.data.get("parameters")
        return parameters_of(self.study) if known is None else known  # of an older hwnas

    @property
    def reference(self) -> dict[str, float] | None:
        """The hypervolume's corner. Without thresholds it comes from the random phase, so that it stays where it is."""
        return pareto.reference_point([t.metrics for t in self.random_phase], self.objectives, self.limits)

    @property
    def random_phase(self) -> list[Trial]:
        return random_phase(self.trials, self.study)

    @property
    def hypervolume(self) -> float | None:
        if self.reference is None:
            return None
        rows = [t.metrics for t in self.trials if t.state == "completed"]
        return pareto.hypervolume(rows, self.objectives, self.reference, self.limits)

    @property
    def of_space(self) -> list[Trial]:
        """All but a baseline that is an ONNX file: those that a generator and its models know."""
        return [trial for trial in self.trials if trial.of_space]

    @property
    def baseline(self) -> Trial | None:
        """The incumbent, where the study names one and it has been measured and trained or scored."""
        return next((t for t in self.trials if t.source == BASELINE and t.state == "completed"), None)

    def onnx(self, index: int) -> Path:
        return self.folder.front / f"{index}.onnx"

    def figures(self, index: int) -> dict[str, float]:
        """A trial's, see ``Trial.figures``."""
        return next(trial for trial in self.trials if trial.index == index).figures

    def against_baseline(self, index: int) -> dict[str, float]:
        """How much better than the incumbent, as in ``nas.baseline.against``; {} where there is none."""
        if self.baseline is None:
            return {}
        return against(self.baseline.figures, self.figures(index), self.objectives)


def read_results(path: Path) -> Results:
    """Raises InputError where ``path`` is not a run folder."""
    folder = RunFolder(path)
    if not folder.study.is_file() or not folder.begun:
        raise InputError(f"{path}: given a folder without study.toml and study.db; accepted: the folder of a search")
    study = read_study(folder.study)
    store, name = open_store(folder, study.name)
    with store:
        return results_of(study, folder, store.events(name))


def random_phase(trials: Iterable[Trial], study: Study) -> list[Trial]:
    """Those of it that were completed: what decides where a reference point is that nothing else fixes."""
    return [trial for trial in trials if trial.index < study.search.initial_trials and trial.state == "completed"]


def results_of(
    study: Study, folder: RunFolder, events: Sequence[Event], known: Mapping[int, Trial] | None = None
) -> Results:
    """``known``: the trials, where not all events are at hand; ``None``: those that follow from the events.

    Raises InputError where the search ended before its limits were known.
    """
    objectives, limits = plan_of(study, next((event for event in events if event.kind == "started"), None))
    trials = [trial for _, trial in sorted((trials_of(events) if known is None else known).items())]
    completed = [trial for trial in trials if trial.state == "completed"]
    chosen = pareto.front([trial.metrics for trial in completed], objectives, limits)
    return Results(
        study=study,
        folder=folder,
        events=list(events),
        trials=trials,
        objectives=objectives,
        limits=limits,
        front=[completed[index].index for index in chosen],
    )


def plan_of(study: Study, started: Event | None) -> tuple[tuple[Objective, ...], tuple[Limit, ...]]:
    """Objectives, and limits as numbers: "4x" was resolved when the search began, and journalled as ``started``."""
    if started is None:
        raise InputError(f"{study.name}: the search ended before it began; run it again with --resume")
    objectives = tuple(Objective(name=o.metric, goal=o.goal, threshold=o.threshold) for o in study.objective)
    limits = tuple(Limit(name=one["name"], op=one["op"], bound=one["bound"]) for one in started.data["limits"])
    return objectives, limits


def account_of(results: Results) -> dict[str, float]:
    """Seconds by kind over all sessions and controllers of a run, and what measuring first saved; see docs for each."""
    kept = [event.data for event in results.events if event.kind == "account"]
    total = accounts.add([{key: seconds for key, seconds in data.items() if key != "by"} for data in kept])
    trained = [trial.train_s for trial in results.trials if trial.train_s is not None]
    gated = sum(trial.state == "gated" for trial in results.trials)
    total["gated"] = gated
    mean_s = sum(trained) / len(trained) if trained else 0.0
    total["training_saved_s"] = gated * mean_s
    stopped = [event.data for event in results.events if event.kind == "early_stopped"]
    total["early_stopped"] = len(stopped)
    total["steps_saved"] = sum(data["steps"] - data["step"] for data in stopped)
    total["steps_of_stopped"] = sum(data["steps"] for data in stopped)
    total["stopping_saved_s"] = mean_s * sum(1 - data["step"] / data["steps"] for data in stopped)
    earlier = [trial.train_s for trial in results.trials if trial.earlier and trial.train_s is not None]
    total |= {"earlier": len(earlier), "earlier_saved_s": sum(earlier)}
    total["trials"] = len(results.trials)
    return total


def pick(results: Results, limits: Sequence[Limit]) -> int | None:
    """The member of the front that keeps ``limits`` and is best in the first objective; ``None``: none keeps them.

    A limit on a metric that was not measured is not kept. Confirmed figures count where there are some.
    """
    fitting = [index for index in results.front if pareto.keeps(results.figures(index), limits)]
    first = results.objectives[0]
    sign = 1 if first.goal == "max" else -1
    return max(fitting, key=lambda index: sign * results.figures(index)[first.name], default=None)


def trials_frame(results: Results) -> pd.DataFrame:
    """One row per trial, as ``trials.csv`` has them: what was not measured is NaN, standard errors end in ``_sem``."""
    rows = [
        _row(trial, trial.metrics, trial.sems) | {"state": trial.state, "reason": trial.reason}
        for trial in results.trials
    ]
    return _frame(rows, results)


def front_frame(results: Results) -> pd.DataFrame:
    """One row per member of the front, as ``pareto.csv`` has them: confirmed figures, and against the baseline."""
    rows = [
        _row(trial, trial.figures, trial.sems | trial.confirmed_sems) | results.against_baseline(trial.index)
        for trial in results.trials
        if trial.index in results.front
    ]
    return _frame(rows, results)


def write_results(results: Results) -> None:
    """Each file whole or not at all; a front written earlier is replaced, but for members whose file is gone."""
    files.write_text(results.folder.path / "trials.csv", str(trials_frame(results).to_csv(index=False)))
    files.write_text(results.folder.path / "pareto.csv", str(front_frame(results).to_csv(index=False)))
    members = [trial for trial in results.trials if trial.index in results.front]
    results.folder.front.mkdir(exist_ok=True)
    for stale in results.folder.front.glob("*.onnx"):
        if stale.stem not in map(str, results.front):
            stale.unlink(missing_ok=True)  # another controller was quicker
    for trial in members:
        place = results.folder.trial(trial.index)
        # The user may have deleted it since; without a table, an untrained network is not what was scored.
        if place.shipped.exists() and (results.study.train.table is not None or place.shipped != place.untrained):
            files.write_bytes(results.onnx(trial.index), place.shipped.read_bytes())


def _row(trial: Trial, metrics: Mapping[str, float], sems: Mapping[str, float]) -> dict[str, Any]:
    errors = {f"{name}_sem": value for name, value in sems.items()}
    # A training may have written a metric of any name: which trial and network it is stays readable.
    return dict(metrics) | errors | dict(trial.choices) | {"trial": trial.index, "digest": trial.digest}


def _frame(rows: Sequence[Mapping[str, Any]], results: Results) -> pd.DataFrame:
    """Trial, digest, choices, and then all else in the order in which it came. Whole numbers stay whole where a row
    has no choices, that of a baseline which is an ONNX file. Without rows the objectives are there all the same, so
    that a reader need not know that case."""
    import pandas as pd

    choices = [parameter["name"] for parameter in results.parameters]
    rest = [name for row in rows for name in row] or [objective.metric for objective in results.study.objective]
    columns = dict.fromkeys(["trial", "digest", *choices, *rest])
    some = [name for name in choices if rows and any(name not in row for row in rows)]
    whole = [name for name in some if all(type(row.get(name, 0)) is int for row in rows)]
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(whole, "Int64"))
