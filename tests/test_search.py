"""The search as a person runs it: the installed command, real jobs, real measurements, on a small study."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from nas.results import read_results

pytestmark = pytest.mark.timeout(400)  # whole searches, two at a time on two cores

STUDY = """
name = "small"
space = "mlp"
seed = 3
[data]
name = "digits"
[budget]
trials = 4
[search]
generator = "sobol"
[train]
script = "train.py"
timeout_s = 60
[confirm]
seeds = 1
processes = 2
[[objective]]
metric = "val_accuracy"
goal = "max"
[[objective]]
metric = "params"
goal = "min"
[[constraint]]
metric = "latency_ms@local"
max = 1000
"""

# Initialised from the seed and not trained: what the search does with it is the same, and it takes two seconds.
TRAIN = """
import json, sys, time
from pathlib import Path
candidate, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
{fault}
import torch
from nas.spaces import build, find_space
torch.manual_seed(candidate["seed"])
network = build(find_space(candidate["space"]), candidate["choices"], (1, 8, 8), 10)
torch.save(network.state_dict(), out / "weights.pt")
(out / "metrics.json").write_text(json.dumps({{"val_accuracy": 0.0, "my_metric": 1.5}}))
"""


def write_study(folder: Path, fault: str = "", **replaced: str) -> Path:
    text = STUDY
    for old, new in replaced.items():
        assert f"{old} =" in text
        text = "\n".join(f"{old} = {new}" if line.startswith(f"{old} =") else line for line in text.splitlines())
    (folder / "train.py").write_text(TRAIN.format(fault=fault))
    (folder / "small.toml").write_text(text)
    return folder / "small.toml"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.cli", *map(str, arguments)]


def hwnas(
    *arguments: str | Path, cwd: Path, timeout: float = 240, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Without the report at the end of a search, which takes 10 s, unless it is asked for.

    ``path``: a folder with modules that the study names.
    """
    if arguments[0] == "search" and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    folders = [str(Path(__file__).parent.parent), *([str(path)] if path else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("finished")
    ran = hwnas("search", write_study(folder), "--report", "--json", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return folder / "runs" / "small", ran


def test_a_search_ends_with_a_front_and_its_files(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run, ran = finished
    front = json.loads(ran.stdout)["front"]
    assert json.loads(ran.stdout)["schema"] == 1 and front
    trials = list(csv.DictReader((run / "trials.csv").open()))
    assert [row["trial"] for row in trials] == ["0", "1", "2", "3"]
    assert {row["state"] for row in trials} == {"completed"}
    for row in trials:
        assert float(row["latency_ms@local"]) > 0 and float(row["latency_ms@local_sem"]) > 0
        assert 0 <= float(row["val_accuracy"]) <= 1 and row["my_metric"] == "1.5"
    members = list(csv.DictReader((run / "pareto.csv").open()))
    assert [int(row["trial"]) for row in members] == [member["trial"] for member in front]
    for row in members:
        assert (run / "front" / f"{row['trial']}.onnx").is_file()
        assert row["test_accuracy"] and row["test_accuracy_shipped"]
    assert "hidden_size_1" in trials[0] and (run / "study.toml").is_file()
    for index in (member["trial"] for member in front):
        assert f"front/{index}.onnx" in (run / "report.html").read_text()
        confirmed = json.loads((run / "trials" / str(index) / "confirmed-local.json").read_text())
        assert "Gemm" in {one["operator"] for one in confirmed["operators"]}
        assert sum(one["share"] for one in confirmed["operators"]) == pytest.approx(1.0)
    assert (run / "ax_experiment.json").is_file() and "ax_experiment.json" in ran.stderr.splitlines()[-1]


def test_accuracy_is_that_of_the_onnx_file(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Not what the script claims (0.0), but what onnxruntime answers to the validation images."""
    import numpy as np
    import onnxruntime

    from nas.data import load

    run, _ = finished
    data = load("digits")
    for trial in read_results(run).trials:
        model = onnxruntime.InferenceSession(run / "trials" / str(trial.index) / "trained.onnx")
        answers = np.concatenate([model.run(None, {"input": data.x_val[i : i + 1]})[0] for i in range(len(data.x_val))])
        assert trial.metrics["val_accuracy"] == pytest.approx(float((answers.argmax(1) == data.y_val).mean()))


def test_pareto_picks_the_best_that_fits(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run, _ = finished
    front = json.loads(hwnas("pareto", run, "--json", cwd=run).stdout)["front"]
    smallest = min(front, key=lambda member: member["metrics"]["params"])
    bound = smallest["metrics"]["params"] + 0.5
    picked = json.loads(hwnas("pareto", run, "--max", f"params={bound}", "--json", cwd=run).stdout)["front"]
    assert [member["trial"] for member in picked] == [smallest["trial"]]
    none = hwnas("pareto", run, "--max", "params=1", cwd=run)
    assert none.returncode == 1 and "none of the" in none.stderr
    unknown = hwnas("pareto", run, "--max", "latency@here=1", cwd=run)
    assert unknown.returncode == 2 and "latency@here" in unknown.stderr and "latency_ms@local" in unknown.stderr
    absent = hwnas("pareto", run / "absent", cwd=run)
    assert absent.returncode == 2 and len(absent.stderr.splitlines()) == 1


def test_a_finished_run_is_not_overwritten_and_its_budget_may_grow(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    run, _ = finished
    study, cwd = run.parent.parent / "small.toml", run.parent.parent
    refused = hwnas("search", study, cwd=cwd)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    other = hwnas("search", study, "--resume", "--seed", "9", cwd=cwd)
    assert other.returncode == 2 and "seed" in other.stderr
    grown = hwnas("search", study, "--resume", "--trials", "5", cwd=cwd)
    assert grown.returncode == 0, grown.stderr
    results = read_results(run)
    assert len(results.trials) == 5
    assert sum(event.kind == "training" for event in results.events) == 5


def test_a_run_is_read_and_goes_on_after_a_power_cut(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Half of a last line, half of a file, a journal of the database that was cut off: what is whole counts."""
    run = tmp_path / "runs" / "small"
    shutil.copytree(finished[0], run)
    study = write_study(tmp_path, seeds="0")
    shutil.copyfile(run / "study.toml", study)
    for name in ("profile-local.json", "metrics.json", "job/result.json", "job/metrics.json", "job/stdout.log"):
        for path in run.glob(f"trials/*/{name}"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (run / "generator.log").open("ab") as log:
        log.write(b"half of a line \xff")
    for name in ("study.db-wal", "study.db-journal"):
        (run / name).write_bytes(bytes.fromhex("d9d505f920a163d7") + b"\0" * 100)
    (run / "trials.csv").write_text("trial,dig")
    (run / "trials" / "0" / ".candidate.json.x1y2").write_text("{")
    before = read_results(run)
    for name in ("pareto", "report"):
        ran = hwnas(name, run, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
    trials = len(before.trials) + 1
    ran = hwnas("search", study, "--resume", "--trials", str(trials), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    after = read_results(run)
    assert [trial.metrics for trial in after.trials[:-1]] == [trial.metrics for trial in before.trials]
    assert [trial.state for trial in after.trials] == ["completed"] * trials
    assert len(list(csv.DictReader((run / "trials.csv").open()))) == trials


def test_a_job_that_crashes_and_one_that_hangs_are_failed_trials_with_their_reasons(tmp_path: Path) -> None:
    fault = """
if candidate["trial"] == 0:
    print("out of luck", file=sys.stderr); sys.exit(7)
if candidate["trial"] == 1:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)
"""
    study = write_study(tmp_path, fault, trials="3", timeout_s="25", seeds="0")
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    crashed, hung, fine = read_results(tmp_path / "runs" / "small").trials
    assert crashed.state == "failed" and "exit" in str(crashed.reason) and "out of luck" in str(crashed.reason)
    assert "7" in str(crashed.reason)
    assert hung.state == "failed" and "no result within 25 s" in str(hung.reason)
    assert fine.state == "completed"


def test_too_slow_candidates_are_not_trained(tmp_path: Path) -> None:
    study = write_study(tmp_path, max="1e-6", trials="2")
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 1
    assert "no candidate fits: 2 gated" in ran.stderr
    results = read_results(tmp_path / "runs" / "small")
    assert not any(event.kind == "training" for event in results.events)
    assert (tmp_path / "runs" / "small" / "pareto.csv").read_text().startswith("trial,digest")


def test_ctrl_c_is_safe_and_resume_goes_on(tmp_path: Path) -> None:
    study = write_study(tmp_path, "time.sleep(2)", trials="3", seeds="0")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    search = subprocess.Popen(
        command("search", study),
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = tmp_path / "runs" / "small"
    wait_for(lambda: any(run.glob("trials/*/job/job.json")))
    os.killpg(search.pid, signal.SIGINT)
    _, errors = search.communicate(timeout=60)
    assert search.returncode == 130
    assert errors.splitlines()[-1].startswith("hwnas: interrupted") and "--resume" in errors
    ran = hwnas("search", study, "--resume", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [(t.state, t.reason) for t in read_results(run).trials] == [("completed", None)] * 3


def test_the_same_seed_gives_the_same_candidates_and_accuracies(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run, _ = finished
    ran = hwnas("search", write_study(tmp_path, seeds="0"), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr

    def candidates(folder: Path) -> list[Any]:
        return [(t.digest, t.metrics["val_accuracy"]) for t in read_results(folder).trials[:4]]

    assert candidates(tmp_path / "runs" / "small") == candidates(run)


def test_a_dry_run_checks_every_step_and_keeps_nothing(tmp_path: Path) -> None:
    ran = hwnas("search", write_study(tmp_path), "--dry-run", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "my_metric = 1.5" in ran.stdout
    assert "e+300" not in ran.stderr  # what limits are lifted to
    assert not (tmp_path / "runs").exists()


SPACE = """
from torch import nn
from nas.spaces import Choice

parameters = (Choice("width", tuple(range(8, 18)), ordered=True),)

def build(choices, *, input_shape, outputs):
    width = choices["width"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))
"""


def test_a_search_for_another_device_trains_nothing_that_was_trained(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()  # a name that a file beside the default training script has
    (tmp_path / "curves" / "ten.py").write_text(SPACE)
    study = write_study(tmp_path, space='"curves:ten"', generator='"hwnas"', trials="10", seeds="0")
    for name, further in (("small", []), ("again", ["--set", 'search.transfer=["runs/small"]'])):
        ran = hwnas("search", study, "--out", f"runs/{name}", *further, cwd=tmp_path, path=tmp_path)
        assert ran.returncode == 0, ran.stderr
    assert "10 trained before, in other runs or precisions" in ran.stderr
    run = tmp_path / "runs" / "again"
    assert not list(run.glob("trials/**/ticket")) and len(list(run.glob("trials/*/job/earlier.json"))) == 10
    before, after = (read_results(tmp_path / "runs" / name).trials for name in ("small", "again"))
    scores = [{trial.digest: trial.metrics["val_accuracy"] for trial in trials} for trials in (before, after)]
    assert scores[0] == scores[1]
    known = json.loads((run / "transfer.json").read_text())["trained"]
    told = {tuple(one["choices"].values()): one["values"] for one in known}
    assert told == {tuple(t.choices.values()): {"val_accuracy": t.metrics["val_accuracy"]} for t in before}
