"""The incumbent: choices of the space, or an ONNX file from anywhere, as trial 0 of a search."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from test_search import hwnas, write_study

from nas import baseline, export
from nas.data import Dataset, load
from nas.results import read_results
from nas.spaces import build, find_space
from nas.study import Data
from nas.study_file import load_study
from profiles.errors import InputError
from profiles.records import Target

SIZES = {"hidden_size_1": 40, "hidden_size_2": 24, "learning_rate": 0.01, "epochs": 1, "dropout": 0.1, "batch_size": 64}
CONVNET = {
    "width": 16, "stem_stride": 2, "kernel": 5, "depth_1": 1, "expansion_1": 2,
    "depth_2": 2, "expansion_2": 4, "depth_3": 0, "expansion_3": 1,
}  # fmt: skip
LOCAL = Target(name="local", device="local")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def write_file(path: Path, *, inputs: tuple[Any, ...] = ("n", 1, 8, 8), outputs: int = 10) -> Path:
    """A linear model whose input and output have names of their own; its answer is the sum of the pixels' rows."""
    weights = np.random.default_rng(0).normal(size=(64, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["classes"]),
        ],
        "shipped",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, (inputs[0], outputs))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def with_baseline(folder: Path, text: str, **replaced: str) -> Path:
    study = write_study(folder, **replaced)
    study.write_text(study.read_text() + f"\n[baseline]\n{text}\n")
    return study


@pytest.mark.parametrize(("space", "choices"), [("mlp", SIZES), ("convnet", CONVNET)])
def test_a_file_is_counted_as_the_network_that_it_came_from(
    tmp_path: Path, digits: Dataset, space: str, choices: dict[str, Any]
) -> None:
    module = build(find_space(space), choices, digits.input_shape, digits.outputs)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)  # the export stores equal tensors once
    export.export_onnx(module, tmp_path / "m.onnx", input_shape=digits.input_shape)
    found = baseline.count(tmp_path / "m.onnx")
    params, macs = export.count(module, digits.input_shape)
    folded = sum(layer.num_features for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    assert found["macs"] == macs
    assert found["params"] == params - folded  # scale and shift have become one bias
    assert found["model_size_mb"] == (tmp_path / "m.onnx").stat().st_size / 1e6


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_windows_that_share_an_axis_with_the_batch_are_counted(tmp_path: Path, batch: Any) -> None:
    """4 windows of 16 by 16 x 8 each, and their 32 by 32 x 10."""
    weights = {"w": np.ones((16, 8), np.float32), "v": np.ones((32, 10), np.float32)}
    shapes = {"windows": np.array([-1, 16]), "whole": np.array([-1, 32])}
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "windows"], ["a"]),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("Reshape", ["b", "whole"], ["c"]),
            helper.make_node("MatMul", ["c", "v"], ["y"]),
        ],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 4, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, 10))],
        [onnx.numpy_helper.from_array(array, name) for name, array in (weights | shapes).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    assert baseline.count(tmp_path / "m.onnx")["macs"] == 4 * 16 * 8 + 32 * 10


@pytest.mark.parametrize("kind", ["constant", "vector", "quantised", "turned", "of two activations"])
def test_weights_that_are_no_initialisers_are_weights_all_the_same(tmp_path: Path, kind: str) -> None:
    """``None``: not known; a product of two activations is not counted, as of candidates."""
    weights = np.ones((64, 10), np.int8 if kind == "quantised" else np.float32)
    tensor = onnx.numpy_helper.from_array(weights, "w")
    before, initialisers = [], [tensor]
    if kind == "constant":
        before, initialisers = [helper.make_node("Constant", [], ["weights"], value=tensor)], []
    elif kind == "vector":
        before, initialisers = [helper.make_node("Constant", [], ["weights"], value_floats=[1.0] * 64)], []
    elif kind == "quantised":
        initialisers.append(onnx.numpy_helper.from_array(np.float32(0.1), "scale"))
        before = [helper.make_node("DequantizeLinear", ["w", "scale"], ["weights"])]
    elif kind == "turned":
        initialisers = [onnx.numpy_helper.from_array(weights.T.copy(), "w")]
        before = [helper.make_node("Transpose", ["w"], ["weights"])]
    else:
        before = [helper.make_node("Expand", ["x", "w"], ["weights"])]
        initialisers = [onnx.numpy_helper.from_array(np.array([64, 10]), "w")]
    graph = helper.make_graph(
        [*before, helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        initialisers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    found = baseline.count(tmp_path / "m.onnx")
    macs = {"constant": 640, "quantised": 640, "turned": None, "vector": None, "of two activations": 0}
    assert (found.get("macs"), found["params"]) == (
        macs[kind],
        640 if kind in ("constant", "quantised", "turned") else 0,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inputs": ("n", 3, 8, 8)}, "FLOAT[n, 3, 8, 8]; accepted: one, FLOAT[n, 1, 8, 8]"),
        ({"inputs": (4, 1, 8, 8)}, "FLOAT[4, 1, 8, 8]; accepted: one, FLOAT[n, 1, 8, 8]"),
        ({"outputs": 7}, "FLOAT[n, 7]; accepted: [n, 10]"),
    ],
)
def test_a_file_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, digits: Dataset, given: dict[str, Any], words: str
) -> None:
    path = write_file(tmp_path / "shipped.onnx", **given)
    study = load_study(with_baseline(tmp_path, 'onnx = "shipped.onnx"'))
    with pytest.raises(InputError) as error:
        baseline.check_file(path, study, digits, [LOCAL])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_metric_that_only_the_training_script_knows_is_refused(tmp_path: Path, digits: Dataset) -> None:
    study = load_study(with_baseline(tmp_path, 'onnx = "shipped.onnx"'), {"objective.0.metric": "val_map50"})
    with pytest.raises(InputError, match=r"val_map50.*accepted: with an ONNX baseline, val_accuracy"):
        baseline.check_file(write_file(tmp_path / "shipped.onnx"), study, digits, [LOCAL])


def test_an_accuracy_on_data_that_are_only_a_shape_is_refused(tmp_path: Path) -> None:
    """They are noise: what a table says of the candidates cannot be compared with it."""
    path, shape = write_file(tmp_path / "shipped.onnx"), {"input_shape": [1, 8, 8], "outputs": 10}
    study = load_study(with_baseline(tmp_path, 'onnx = "shipped.onnx"'))
    study = study.model_copy(update={"data": Data(name="shape", **shape)})
    with pytest.raises(
        InputError, match=r"val_accuracy.*accepted: with an ONNX baseline and data that are only a shape"
    ):
        baseline.check_file(path, study, load("shape", **shape), [LOCAL])
    study = study.model_copy(update={"objective": study.objective[1:]})
    baseline.check_file(path, study, load("shape", **shape), [LOCAL])


def test_a_missing_file_is_refused_in_one_line_before_anything_is_started(tmp_path: Path) -> None:
    study = with_baseline(tmp_path, 'onnx = "shipped.onnx"')
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1 and "shipped.onnx; accepted" in ran.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(200))])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, digits: Dataset, content: bytes) -> None:
    (tmp_path / "shipped.onnx").write_bytes(content)
    study = load_study(with_baseline(tmp_path, 'onnx = "shipped.onnx"'))
    with pytest.raises(InputError, match=r"shipped\.onnx"):
        baseline.check_file(tmp_path / "shipped.onnx", study, digits, [LOCAL])


def test_choices_and_a_file_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exactly one of choices and onnx"):
        load_study(with_baseline(tmp_path, 'onnx = "a.onnx"\nchoices = {width = 1}'))


def test_better_by_hand() -> None:
    from nas.generators import Objective

    objectives = [Objective(name=n, goal=g) for n, g in (("val_accuracy", "max"), ("a_ms", "min"), ("fps", "max"))]
    found = baseline.against(
        {"val_accuracy": 0.9, "a_ms": 3.0, "fps": 10.0}, {"val_accuracy": 0.95, "a_ms": 2.0, "fps": 5.0}, objectives
    )
    expected = {"val_accuracy_points_better": 5.0, "a_ms_times_better": 1.5, "fps_times_better": 0.5}
    assert found == pytest.approx(expected)
    assert baseline.against({}, {"a_ms": 1.0}, objectives) == {}


@pytest.mark.timeout(400)
def test_a_search_beside_a_file_that_ships_today(tmp_path: Path, digits: Dataset) -> None:
    path = write_file(tmp_path / "shipped.onnx", inputs=(1, 1, 8, 8))
    study = with_baseline(tmp_path, 'onnx = "shipped.onnx"', trials="3")
    ran = hwnas("search", study, "--report", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    run = tmp_path / "runs" / "small"
    results = read_results(run)
    incumbent = results.baseline
    assert incumbent is not None and incumbent.index == 0 and incumbent.choices == {}
    weights = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    right = (digits.x_val.reshape(-1, 64) @ weights).argmax(1) == digits.y_val
    assert incumbent.metrics["val_accuracy"] == pytest.approx(right.mean())
    assert incumbent.metrics["params"] == incumbent.metrics["macs"] == 640
    assert incumbent.metrics["latency_ms@local"] > 0 and incumbent.sems["latency_ms@local"] > 0
    assert not (run / "trials" / "0" / "job").exists()
    assert incumbent.confirmed is not None and incumbent.confirmed["test_accuracy_shipped"] is not None
    assert "against the baseline" in ran.stdout
    rows = {int(row["trial"]): row for row in csv.DictReader((run / "pareto.csv").open())}
    for index, row in rows.items():
        smaller = 640 / results.figures(index)["params"]
        assert float(row["params_times_better"]) == pytest.approx(smaller)
    assert "the incumbent" in (run / "report.html").read_text()
    assert json.loads((run / "ax_experiment.json").read_text())

    path.unlink()  # the run has a copy
    grown = hwnas("search", study, "--resume", "--trials", "4", cwd=tmp_path)
    assert grown.returncode == 0, grown.stderr
    assert [trial.source for trial in read_results(run).trials][:2] == ["baseline", "sobol"]


def test_a_dry_run_fails_where_the_candidate_does_though_the_baseline_does_not(tmp_path: Path) -> None:
    write_file(tmp_path / "shipped.onnx")
    study = write_study(tmp_path, 'sys.exit("my bug")')
    study.write_text(study.read_text() + '\n[baseline]\nonnx = "shipped.onnx"\n')
    ran = hwnas("search", study, "--dry-run", cwd=tmp_path)
    assert ran.returncode == 3 and "went through" not in ran.stderr
    found = re.search(r"hwnas: trial 1: failed: .*my bug; its files: (\S+)", ran.stderr)
    assert found is not None and (Path(found[1]) / "trials" / "1" / "job" / "stderr.log").is_file()
    shutil.rmtree(Path(found[1]).parent)


@pytest.mark.timeout(400)
def test_an_incumbent_that_breaks_a_limit_is_trained_all_the_same(tmp_path: Path) -> None:
    choices = ", ".join(f"{key} = {value}" for key, value in SIZES.items())
    study = with_baseline(tmp_path, f"choices = {{{choices}}}", max="1e-6", trials="1", seeds="0")
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 1, ran.stderr
    assert [trial.state for trial in read_results(tmp_path / "runs" / "small").trials] == ["completed"]
