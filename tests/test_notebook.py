"""A run folder in a notebook: tables, figures, exports; and the notebook of the examples, cell by cell."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_example import ONE_OBJECTIVE, THREE_OBJECTIVES, Example, profile_of, write_curves, write_example

from nas import mlflow_files, open_study
from profiles.errors import InputError
from profiles.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "runs" / "digits"
    write_example(path)
    with Store(path / "study.db") as store:
        store.add_profile(profile_of("digits/0", 0.3, np.random.default_rng(0)), study="digits", trial=0)
    return path


def test_the_tables_are_those_of_the_files(run: Path) -> None:
    study = open_study(run)
    trials = pd.read_csv(run / "trials.csv")
    assert list(study.trials.columns) == list(trials.columns)
    assert len(study.trials) == 24
    assert list(study.trials["state"]) == list(trials["state"])
    np.testing.assert_allclose(study.trials["latency_ms@local"], trials["latency_ms@local"])
    front = pd.read_csv(run / "pareto.csv")
    assert list(study.front.columns) == list(front.columns)
    assert list(study.front["trial"]) == list(front["trial"]) == study.results.front
    assert {"test_accuracy", "latency_ms@local_times_better"} <= set(study.front.columns)
    assert repr(study) == f"<study digits: 24 trials, {len(front)} on the front>"
    assert study._repr_html_().count("<tr") == len(front) + 1


def test_a_file_is_that_of_a_member_of_the_front(run: Path) -> None:
    study = open_study(run)
    members = study.results.front
    assert study.onnx(members[0]).is_file()
    other = next(trial for trial in study.trials["trial"] if trial not in members)
    with pytest.raises(InputError, match=f"trial {other} has no file; accepted: the front: {members[0]}"):
        study.onnx(other)


def test_curves_and_profiles_are_tables_too(run: Path) -> None:
    study = open_study(run)
    curves = study.curves
    assert list(curves.columns) == ["trial", "metric", "step", "value"]
    completed = study.trials.query("state == 'completed'")["trial"]
    assert set(curves["trial"]) == set(completed)
    last = curves.query("metric == 'val_accuracy'").groupby("trial")["value"].last()
    expected = study.trials.set_index("trial")["val_accuracy"].dropna()
    np.testing.assert_allclose(last, expected, rtol=1e-6)
    assert list(study.profiles["latency_ms_calibrated"]) == [0.3]
    assert len(study.times) == 3 * 4 * 40


def test_the_figure_marks_the_front_and_the_limits(run: Path) -> None:
    study = open_study(run)
    figure = study.plot()
    by_name = {trace.name: trace for trace in figure.data}
    expected = [study.results.trials[index].metrics["latency_ms@local"] for index in study.results.front]
    assert list(by_name["on the front"].x) == expected
    assert figure.layout.xaxis.title.text == "latency_ms@local"
    assert [shape.x0 for shape in figure.layout.shapes] == [0.44]
    assert "trial" in by_name["on the front"].text[0]
    assert study.plot("params", "latency_ms@local").layout.xaxis.title.text == "params"
    with pytest.raises(InputError, match=r"plot: metric: given 'warmth'; accepted: .*params"):
        study.plot("warmth")


@pytest.mark.parametrize(("study", "x"), [(ONE_OBJECTIVE, "trial"), (THREE_OBJECTIVES, "latency_ms@local")])
def test_one_objective_and_three(tmp_path: Path, study: str, x: str) -> None:
    write_example(tmp_path / "run", study)
    figure = open_study(tmp_path / "run").plot()
    assert figure.layout.xaxis.title.text == x
    assert figure.layout.yaxis.title.text == "val_accuracy"


def test_what_was_not_trained_is_neither_dominated_nor_over_a_limit(tmp_path: Path) -> None:
    """Where both axes are known before a training. With three objectives the front is no line."""
    results = write_example(tmp_path / "run", THREE_OBJECTIVES)
    figure = open_study(tmp_path / "run").plot("model_size_mb", "latency_ms@local")
    shown = {trace.name: [int(text.split()[1].split("<")[0]) for text in trace.text] for trace in figure.data}
    state = {trial.index: trial.state for trial in results.trials}
    assert {state[index] for index in shown["dominated"]} == {"completed"}
    assert shown["not trained to the end"] and "completed" not in {state[i] for i in shown["not trained to the end"]}
    assert not any(trace.mode == "lines" for trace in open_study(tmp_path / "run").plot().data)


def test_a_search_that_has_only_begun(tmp_path: Path) -> None:
    example = Example(tmp_path / "run")
    example.start()
    study = open_study(tmp_path / "run")
    assert study.trials.empty and study.front.empty
    assert len(study.plot().data[0].x) == 0
    example.run(0)
    assert len(study.reloaded().trials) == 1
    study.reloaded().to_mlflow(tmp_path / "mlruns")
    example.close()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accepted: the folder of a search"):
        open_study(str(tmp_path))


def test_plain_csv(run: Path, tmp_path: Path) -> None:
    written = open_study(run).to_csv(tmp_path / "out")
    assert [path.name for path in written] == ["trials.csv", "pareto.csv", "profiles.csv", "curves.csv"]
    assert (tmp_path / "out" / "trials.csv").read_text() == (run / "trials.csv").read_text()


def test_an_experiment_of_mlflow(run: Path, tmp_path: Path) -> None:
    """The layout by hand; tests/systems/test_mlflow.py has MLflow itself read it."""
    study = open_study(run)
    experiment = study.to_mlflow(tmp_path / "mlruns")
    assert study.to_mlflow(tmp_path / "mlruns") == experiment  # replaced, not doubled
    about = _yaml(experiment / "meta.yaml")
    assert (about["name"], about["experiment_id"]) == ("digits", experiment.name)
    runs = sorted(path.parent for path in experiment.glob("*/meta.yaml"))
    assert len(runs) == 24
    by_trial = {int((path / "tags" / "hwnas.trial").read_text()): path for path in runs}
    member = study.results.front[0]
    one = by_trial[member]
    figures = study.results.figures(member)
    _, value, step = (one / "metrics" / "latency_ms_at_local").read_text().split()
    assert (float(value), step) == (figures["latency_ms@local"], "0")
    assert len((one / "metrics" / "curve" / "val_accuracy").read_text().splitlines()) == 13
    assert (one / "params" / "width").read_text() == str(study.results.trials[member].choices["width"])
    assert (one / "artifacts" / "model.onnx").is_file() and (one / "tags" / "hwnas.front").read_text() == "true"
    states = {_yaml(by_trial[i] / "meta.yaml")["status"]: trial.state for i, trial in enumerate(study.results.trials)}
    assert states[4] == "failed"
    assert "nan in epoch 3" in (by_trial[9] / "tags" / "hwnas.reason").read_text()


def test_tags_of_a_script_are_files_whatever_their_names(tmp_path: Path) -> None:
    results = write_example(tmp_path / "run")
    write_curves(results.folder.trial(0).retry(0) / "tb" / "own", {"loss": [1.0], "loss/train": [2.0], "a/b/c": [3.0]})
    results.trials[0].metrics["top5/a/b"] = 0.5
    experiment = mlflow_files.write(results, tmp_path / "mlruns")
    (trial,) = [path.parent.parent for path in experiment.glob("*/tags/hwnas.trial") if path.read_text() == "0"]
    assert (trial / "metrics" / "top5.a.b").is_file()
    assert {"loss", "loss.train", "a.b.c"} <= {path.name for path in (trial / "metrics" / "curve").iterdir()}


def test_a_trial_that_has_left_the_front_is_no_member_in_mlflow_either(run: Path, tmp_path: Path) -> None:
    results = open_study(run).results
    experiment = mlflow_files.write(results, tmp_path)
    mlflow_files.write(replace(results, front=results.front[1:]), tmp_path)
    for folder in (path.parent for path in experiment.glob("*/meta.yaml")):
        member = int((folder / "tags" / "hwnas.trial").read_text()) in results.front[1:]
        assert (folder / "tags" / "hwnas.front").exists() == (folder / "artifacts" / "model.onnx").exists() == member


def test_the_import_is_cheap(tmp_path: Path) -> None:
    code = "import sys\nfrom nas import open_study\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "torch", "plotly", "sqlalchemy", "nas.results"} & set(done.stdout.split())


def test_the_notebook_of_the_examples(root: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code cells, one after the other in one namespace, beside a run folder as a search leaves it."""
    notebook = json.loads((root / "examples" / "notebook" / "explore.ipynb").read_text())
    assert notebook["nbformat"] == 4
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])  # outputs are not kept in git
    beside = run.parent.parent / "examples" / "notebook"
    beside.mkdir(parents=True)
    monkeypatch.chdir(beside)  # where Jupyter runs it
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
    assert namespace["study"].name == "digits"


def _yaml(path: Path) -> dict[str, Any]:
    """What the writer writes: JSON behind each key."""
    pairs = (line.split(": ", 1) for line in path.read_text().splitlines())
    return {key: json.loads(value) for key, value in pairs}
