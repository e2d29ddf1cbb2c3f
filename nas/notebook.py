"""A run folder in a notebook: pandas tables, plotly figures, exports.

    from nas import open_study

    study = open_study("runs/digits")
    study.trials            # pandas: the rows of trials.csv
    study.front             # pandas: the rows of pareto.csv
    study.plot()            # plotly: what is given up in one objective for another

It reads what the files say when it is opened; ``reloaded()`` reads again, for a search that is still running. Nothing
in the run folder is changed.
"""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nas import mlflow_files, notebook_plot
from nas.results import Results, front_frame, read_results, trials_frame
from nas.run_store import open_store
from nas.training.curves import read_curves
from profiles import files, frames
from profiles.errors import InputError
from profiles.records import Profile

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """``results``: the same as records, with study, events and limits."""

    results: Results

    @property
    def name(self) -> str:
        return self.results.study.name

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: trial, digest, choices, metrics, standard errors (``_sem``), state, reason.

        NaN: not measured. Units are in the names; docs/metrics.md has the definitions.
        """
        return trials_frame(self.results)

    @property
    def front(self) -> pd.DataFrame:
        """One row per network that no other beats: trial, digest, choices, metrics, confirmed where that was done."""
        return front_frame(self.results)

    @property
    def profiles(self) -> pd.DataFrame:
        """One row per measurement, with every field of its record: ``latency_ms.p50``, ``flags``, ``device.cpu``."""
        return frames.frame(self._profiles())

    @property
    def times(self) -> pd.DataFrame:
        """One row per raw time: time, model, target, process, group, arm, disturbed, latency_ns."""
        return frames.times_frame(self._profiles())

    @property
    def curves(self) -> pd.DataFrame:
        """The learning curves, one row per logged value: trial, metric, step, value."""
        folder = self.results.folder
        rows = [
            (trial.index, metric, step, value)
            for trial in self.results.trials
            for metric, points in read_curves(folder.trial(trial.index).retry(trial.attempt) / "tb").items()
            for step, value in points
        ]
        return pd.DataFrame(rows, columns=["trial", "metric", "step", "value"])

    def onnx(self, trial: int) -> Path:
        """The file of a member of the front, or of the baseline where it has one. Raises InputError for others."""
        path = self.results.onnx(trial)
        if not path.is_file():
            members = ", ".join(map(str, self.results.front))
            raise InputError(f"{self.results.folder.path}: trial {trial} has no file; accepted: the front: {members}")
        return path

    def plot(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """Two metrics of all trials that have both, the front marked: by default the second and the first objective.

        With one objective: its course over the trials. Bars are 95 % intervals, where a metric has a standard error.
        Raises InputError on a metric that no trial has.
        """
        return notebook_plot.trade_off(self.results, x, y)

    def to_csv(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write ``trials.csv``, ``pareto.csv``, ``profiles.csv`` and ``curves.csv``; each whole or not at all."""
        tables = {"trials": self.trials, "pareto": self.front, "profiles": self.profiles, "curves": self.curves}
        paths = [Path(folder) / f"{name}.csv" for name in tables]
        for path, table in zip(paths, tables.values(), strict=True):
            files.write_text(path, str(table.to_csv(index=False)))
        return paths

    def to_mlflow(self, folder: str | os.PathLike[str]) -> Path:
        """Write the study as an experiment of MLflow's file store, each trial a run; the experiment's folder.

        See ``nas.mlflow_files``, also for how MLflow reads it. MLflow itself is not needed.
        """
        return mlflow_files.write(self.results, Path(folder))

    def reloaded(self) -> OpenStudy:
        return read(self.results.folder.path)

    def _profiles(self) -> list[Profile]:
        store, name = open_store(self.results.folder, self.name)
        with store:
            return store.profiles(study=name)

    def __repr__(self) -> str:
        return f"<study {self.name}: {len(self.results.trials)} trials, {len(self.results.front)} on the front>"

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        shown: Any = self.front
        return f"<p>{html.escape(repr(self))}</p>{shown.to_html(index=False)}"


def read(run: str | os.PathLike[str]) -> OpenStudy:
    """Raises InputError where ``run`` is no run folder."""
    return OpenStudy(read_results(Path(run)))
