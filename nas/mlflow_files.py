"""A study as an experiment of MLflow's file store: the folder that MLflow reads as it is, written without MLflow.

    <folder>/<experiment>/meta.yaml                             the study
    <folder>/<experiment>/<run>/meta.yaml, params/, metrics/, tags/, artifacts/      one run per trial

Choices are params; metrics are metrics, and their standard errors (``_sem``) too; learning curves are metrics named
``curve/NAME``, step by step; state, reason, digest and generator are tags ``hwnas.*``; a member of the front has its
ONNX file as an artifact and the tag ``hwnas.front``. "@", which MLflow does not take, becomes "_at_", as in Ax's JSON:
``latency_ms_at_local``. Ids follow from the study and the trial, so what was written before is replaced, not doubled.

Source of the layout: mlflow/store/tracking/file_store.py of MLflow 3.17.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nas.journal import Trial
from nas.results import Results
from nas.training.curves import read_curves
from profiles import files
from profiles.records import digest_of

_LOCAL = 4  # MLflow's SourceType
_RUNNING, _FINISHED, _FAILED = 1, 3, 4  # its RunStatus
_MOST = 500  # characters of a param's value that every MLflow takes
Step = tuple[int, float, float]  # time in ms, value, step


def write(results: Results, folder: Path) -> Path:
    """The experiment's folder. A run that is not whole has no ``meta.yaml``."""
    name = results.study.name
    number = str(int(digest_of([name, results.events[0].time])[:14], 16))
    experiment = folder / number
    times = _times_ms(results)
    began, ended = min(span[0] for span in times.values()), max(span[1] for span in times.values())
    for trial in results.trials:
        _write_run(results, trial, experiment, times[trial.index])
    about = {
        "artifact_location": experiment.resolve().as_uri(),
        "creation_time": began,
        "experiment_id": number,
        "last_update_time": ended,
        "lifecycle_stage": "active",
        "name": name,
    }
    _write_yaml(experiment / "meta.yaml", about)
    return experiment


def _write_run(results: Results, trial: Trial, experiment: Path, span: tuple[int, int]) -> None:
    run = digest_of([experiment.name, trial.index, trial.digest])[:32]
    folder = experiment / run
    began, ended = span
    errors = {f"{name}_sem": value for name, value in (trial.sems | trial.confirmed_sems).items()}
    figures = trial.figures | errors
    metrics: dict[str, list[Step]] = {_flat(name): [(ended, value, 0)] for name, value in figures.items()}
    tb = results.folder.trial(trial.index).retry(trial.attempt) / "tb"
    for name, points in read_curves(tb).items():
        metrics[f"curve/{_flat(name)}"] = [(ended, value, step) for step, value in points]
    member = trial.index in results.front
    tags = {
        "mlflow.runName": f"trial {trial.index}",
        "hwnas.trial": str(trial.index),
        "hwnas.state": trial.state,
        "hwnas.digest": trial.digest,
        "hwnas.generator": trial.source,
        "hwnas.front": "true" if member else None,
        "hwnas.reason": trial.reason,
    }
    params = {name: str(value)[:_MOST] for name, value in trial.choices.items()}
    _write_texts(folder / "params", params)
    _write_texts(folder / "metrics", {name: _lines(steps) for name, steps in metrics.items()})
    _write_texts(folder / "tags", {name: text for name, text in tags.items() if text is not None})
    (folder / "artifacts").mkdir(exist_ok=True)
    model = folder / "artifacts" / "model.onnx"
    if not member:  # by now: it may have been one when this was written before
        (folder / "tags" / "hwnas.front").unlink(missing_ok=True)
        model.unlink(missing_ok=True)
    elif results.onnx(trial.index).is_file():
        shutil.copyfile(results.onnx(trial.index), model)
    about: dict[str, Any] = {
        "artifact_uri": (folder / "artifacts").resolve().as_uri(),
        "end_time": ended if trial.ended else None,
        "entry_point_name": "",
        "experiment_id": experiment.name,
        "lifecycle_stage": "active",
        "run_id": run,
        "run_name": tags["mlflow.runName"],
        "run_uuid": run,
        "source_name": "",
        "source_type": _LOCAL,
        "source_version": "",
        "start_time": began,
        "status": _FAILED if trial.state == "failed" else _FINISHED if trial.ended else _RUNNING,
        "tags": [],
        "user_id": "hwnas",
    }
    _write_yaml(folder / "meta.yaml", about)


def _times_ms(results: Results) -> dict[int | None, tuple[int, int]]:
    """Trial -> when its first and its last event were, in ms since 1970; ``None``: of the study as a whole."""
    spans: dict[int | None, tuple[int, int]] = {}
    for event in results.events:
        at = round(datetime.fromisoformat(event.time).timestamp() * 1000)
        spans[event.trial] = (spans.get(event.trial, (at, at))[0], at)
    return spans


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / _accepted(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _lines(steps: Sequence[Step]) -> str:
    return "".join(f"{time} {value!r} {step:.0f}\n" for time, value, step in steps)


def _flat(name: str) -> str:
    """ "loss/train" would make a folder of "loss"."""
    return name.replace("/", ".")


def _accepted(name: str) -> str:
    """Letters, digits, "_", "-", ".", " " and "/" are what MLflow takes everywhere."""
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"), flags=re.ASCII)


def _write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """JSON is YAML."""
    files.write_text(path, "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items()))
