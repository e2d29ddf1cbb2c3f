"""The steps of a candidate beside devices that are stood in for: scores that are no numbers, tables."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.account import Account
from nas.data import Dataset
from nas.endings import Endings
from nas.folder import RunFolder
from nas.generators import Objective
from nas.journal import Journal, Trial
from nas.plan import Plan
from nas.spaces import find_space
from nas.steps import Candidates
from nas.study import Study
from nas.training.outcome import Outcome
from nas.training.table import Table
from profiles import files
from profiles.errors import MeasurementError, TrialError
from profiles.store import Store

CHOICES = {
    "hidden_size_1": 16, "hidden_size_2": 16, "learning_rate": 0.01, "epochs": 1, "dropout": 0.0, "batch_size": 32,
}  # fmt: skip
FILE = Trial(index=0, choices={}, digest="f", source="baseline")  # an ONNX file, which needs no training
NETWORK = Trial(index=0, choices=dict(CHOICES), digest="n", source="sobol")


class Bench:
    """In place of ``nas.bench.Bench``: whatever is asked, ``last`` is the answer to the last row, 0 that to others."""

    def __init__(self, last: float = 0.0) -> None:
        self._last = last

    def connect(self) -> None: ...

    def outputs(self, onnx: Path, name: str, x: Any, precision: str | None = None) -> Any:
        answers = np.zeros((len(x), 1), np.float32)
        answers[-1] = self._last
        return answers

    def artifact(self, onnx: Path, name: str, precision: str | None = None) -> Path:
        return onnx

    def interleaved(self, onnx: list[Path], *rest: Any) -> list[Any]:
        return [MeasurementError("not measured") for _ in onnx]


def candidates_of(bench: Any, *, test_rows: int = 3, seeds: int = 0, table: Table | None = None) -> Candidates:
    """Of a regression of one target on two numbers."""
    study = Study.model_validate(
        {"name": "s", "space": "mlp", "data": {"name": "line.npz"}, "budget": {"trials": 1}}
        | {"objective": [{"metric": "val_rmse", "goal": "min"}], "confirm": {"seeds": seeds}}
    )
    x, y = np.ones((8, 2), np.float32), np.arange(8, dtype=np.float32).reshape(8, 1)
    data = Dataset(
        x_train=x, y_train=y, x_val=x, y_val=y, x_test=x[:test_rows], y_test=y[:test_rows], task="regression", outputs=1
    )
    return Candidates(study, find_space("mlp"), data, bench, table)


def propose(journal: Journal, trial: Trial) -> None:
    journal.append("proposed", trial.index, choices=trial.choices, digest=trial.digest, source=trial.source)


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_failed_trial(tmp_path: Path, last: float) -> None:
    """Neither files nor events take such a number: each resumed search would end on it."""
    candidates = candidates_of(Bench(last))
    objectives = (Objective(name="val_rmse", goal="min"),)
    plan = Plan(study=candidates.study, folder=RunFolder(tmp_path), objectives=objectives, limits=())
    with Store("sqlite://") as store:
        journal = Journal(store, "s")
        propose(journal, FILE)
        proposals: Any = None  # which is told of networks of the space alone
        Endings(plan, candidates, journal, proposals, Account()).complete(journal.trials[0], Outcome())
        assert journal.trials[0].state == "failed"
        assert str(journal.trials[0].reason).startswith("evaluation: no score on the val split: ")


def test_a_score_is_finite_or_names_its_metric(tmp_path: Path) -> None:
    x, y = np.ones((4, 2), np.float32), np.arange(4, dtype=np.float32)
    scores = candidates_of(Bench()).score(FILE, tmp_path, tmp_path / "m.onnx", x, y, "val")
    assert scores["val_rmse"] == pytest.approx(math.sqrt(14 / 4))
    with pytest.raises(TrialError, match="no score on the test split: the network's outputs are not all finite"):
        candidates_of(Bench(math.nan)).score(FILE, tmp_path, tmp_path / "m.onnx", x, y, "test")


def test_outputs_too_large_to_be_squared_are_no_score() -> None:
    with (
        np.errstate(over="ignore"),
        pytest.raises(TrialError, match="val_rmse is inf: the network's outputs are too large"),
    ):
        candidates_of(Bench())._scored(np.full((3, 1), 1e200), np.zeros((3, 1)), "val")


def test_classes_are_answered_by_a_column_each_in_every_row(tmp_path: Path) -> None:
    """Of one column the largest is always the first; a row without numbers would only count as wrong."""
    candidates = candidates_of(Bench())
    y = np.array([0, 0, 1])
    two = replace(candidates, data=replace(candidates.data, task="classification", outputs=2))
    with pytest.raises(TrialError, match=r"has the shape \(3, 1\); accepted: \(3, 2\), one column"):
        two._scored(np.ones((3, 1)), y, "val")
    right = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert two._scored(right, y, "val") == {"val_accuracy": 1.0}
    right[2, 0] = math.nan
    with pytest.raises(TrialError, match="not all finite"):
        two._scored(right, y, "val")


def test_what_a_training_says_of_the_test_split_is_not_taken_for_the_confirmation(tmp_path: Path) -> None:
    candidates, folder = candidates_of(Bench()), RunFolder(tmp_path).trial(0)
    files.write_bytes(folder.trained, b"shipped")
    found = candidates.evaluate(FILE, folder, folder.job, {"test_rmse": 0.1, "mine": 2.0, "val_rmse": 0.1})
    assert found.keys() == {"mine", "val_rmse", "val_r2", "model_size_mb"} and found["val_rmse"] > 1


def test_the_size_of_a_trained_network_is_that_of_the_file_that_ships(tmp_path: Path) -> None:
    """Whatever its untrained file had, and the script says."""
    candidates, folder = candidates_of(Bench()), RunFolder(tmp_path).trial(0)
    files.write_bytes(folder.trained, bytes(2_500))
    profiled = replace(FILE, metrics={"params": 10.0, "model_size_mb": 0.001})
    found = candidates.evaluate(profiled, folder, folder.job, {"model_size_mb": 7.0})
    assert found["model_size_mb"] == 0.0025
    assert json.loads(folder.metrics.read_text())["model_size_mb"] == 0.0025


def test_a_tables_row_takes_the_place_of_a_score(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv", tuple(CHOICES), ("val_rmse",), {tuple(CHOICES.values()): (0.25,)})
    candidates, folder = candidates_of(Bench(), table=table), RunFolder(tmp_path).trial(0)
    assert candidates.evaluate(NETWORK, folder, folder.job, {}) == {"val_rmse": 0.25}
    assert json.loads(folder.metrics.read_text()) == {"val_rmse": 0.25}
    other = Trial(index=1, choices=CHOICES | {"epochs": 2}, digest="o", source="sobol")
    with pytest.raises(TrialError, match=r"t\.csv has no row for .*epochs = 2"):
        candidates.evaluate(other, folder, folder.job, {})
