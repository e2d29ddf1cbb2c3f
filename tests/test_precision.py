"""Precision as a choice of a search: the network knows nothing of it, the files and their figures do."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from test_search import hwnas

from nas.precision import SAMPLES, WithPrecision, calibration_rows, name_of
from nas.results import read_results
from nas.spaces import Choice, build, canonical, digest, find_space
from nas.study_file import load_study
from profiles.errors import InputError

MLP = {"hidden_size_1": 16, "hidden_size_2": 16, "learning_rate": 0.001, "epochs": 1, "dropout": 0.0, "batch_size": 32}


def test_a_space_with_precisions_is_found_by_its_name() -> None:
    space = find_space(name_of("mlp", ["fp32", "int8"]))
    assert space.parameters[-1] == Choice("precision", ("fp32", "int8"))
    assert canonical(space, MLP | {"precision": "int8"}) == MLP | {"precision": "int8"}
    with pytest.raises(InputError, match="choices: precision: given 'int4'; accepted: one of 'fp32', 'int8'"):
        canonical(space, MLP | {"precision": "int4"})
    module = build(space, MLP | {"precision": "int8"}, (1, 8, 8), 10)
    assert repr(module) == repr(build(find_space("mlp"), MLP, (1, 8, 8), 10))
    assert name_of("mlp", []) == "mlp"


def test_a_candidate_is_the_same_whatever_else_is_searched() -> None:
    chosen: dict[str, Any] = MLP | {"precision": "int8"}
    assert digest("mlp@fp32,int8", chosen) == digest("mlp@int8,fp16", chosen) != digest("mlp", MLP)


def test_a_space_with_a_precision_of_its_own() -> None:
    class Own:
        parameters = (Choice("precision", (1, 2)),)

        def build(self, choices: Any) -> Any: ...

    with pytest.raises(InputError, match="has a parameter 'precision' of its own"):
        WithPrecision(Own(), ["fp32", "int8"])


STUDY = """
name = "both"
space = "one:space"
[data]
name = "digits"
[budget]
trials = 3
parallel = 1
[search]
generator = "random"
[train]
epochs = 2
[quantise]
precisions = ["fp32", "int8"]
[confirm]
seeds = 1
processes = 2
[[objective]]
metric = "val_accuracy"
goal = "max"
[[objective]]
metric = "latency_ms@local"
goal = "min"
"""

SPACE = """
from nas.spaces import Choice, convnet

class space:
    parameters = (Choice("width", (64,)),)

    def build(self, choices, *, input_shape, outputs):
        rest = {parameter.name: parameter.values[0] for parameter in convnet.parameters}
        return convnet.build(rest | choices, input_shape=input_shape, outputs=outputs)
"""


@pytest.mark.timeout(400)
def test_both_precisions_of_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "both.toml").write_text(STUDY)
    (tmp_path / "one.py").write_text(SPACE)
    monkeypatch.syspath_prepend(tmp_path)
    ran = hwnas("search", "both.toml", cwd=tmp_path, path=tmp_path)
    assert ran.returncode == 0, ran.stderr
    run = tmp_path / "runs" / "both"
    rows = {row["precision"]: row for row in csv.DictReader((run / "trials.csv").open())}
    assert set(rows) == {"fp32", "int8"}
    assert {row["state"] for row in rows.values()} == {"completed"}
    # Trained once: what differs comes from quantising.
    assert "1 trained before, in other runs or precisions" in ran.stderr
    assert len(list(run.glob("trials/*/job/earlier.json"))) == 1
    assert len(list(run.glob("trials/*/confirm-1/job/earlier.json"))) == len(list(run.glob("trials/*/confirm-1"))) - 1
    assert rows["fp32"]["train_loss"] == rows["int8"]["train_loss"]
    assert rows["fp32"]["latency_ms@local"] != rows["int8"]["latency_ms@local"]
    assert float(rows["int8"]["model_size_mb"]) < float(rows["fp32"]["model_size_mb"])
    results = read_results(run)
    for index in results.front:
        nodes = {node.op_type for node in onnx.load(results.onnx(index)).graph.node}
        precision = next(trial for trial in results.trials if trial.index == index).choices["precision"]
        assert ("QuantizeLinear" in nodes) == (precision == "int8")


def test_a_study_that_names_precisions_wrongly(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for precisions, words in (
        ('["fp32", "fp32"]', "each precision once"),
        ('["fp32"]', "at least 2"),
        ('["fp32", "int4"]', "quantise.precisions"),
    ):
        path.write_text(STUDY.replace("one:space", "mlp").replace('["fp32", "int8"]', precisions))
        with pytest.raises(InputError, match=words):
            load_study(path)


def test_int8_is_calibrated_with_rows_from_all_over() -> None:
    """Of data sorted by class the first rows would be one class."""
    x = np.arange(1000, dtype=np.float32).reshape(1000, 1)
    rows = calibration_rows(x)
    assert rows.shape == (SAMPLES, 1) and (calibration_rows(x) == rows).all()
    assert (np.diff(rows[:, 0]) > 0).all()
    hundreds = Counter(int(row) // 100 for row in rows[:, 0])
    assert set(hundreds) == set(range(10)) and min(hundreds.values()) >= 5
    assert (calibration_rows(x[:7]) == x[:7]).all()
