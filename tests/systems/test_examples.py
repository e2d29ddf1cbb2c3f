"""Every folder of examples/ as its README says, in a copy of it; what takes minutes is the soak's."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from boards import boards, lacking

pytestmark = pytest.mark.timeout(900)  # a measurement waits for its device

HWNAS = Path(sys.executable).with_name("hwnas")
FOLDERS = ["lightning", "nightly", "notebook", "own-meter", "own-model", "targets", "two-boards", "two-devices-energy"]


@pytest.fixture
def examples(root: Path, tmp_path: Path) -> Path:
    """A copy, with what the examples name beside them."""
    for name in ("examples", "studies"):
        shutil.copytree(root / name, tmp_path / name)
    return tmp_path / "examples"


def run(folder: Path, *command: str, status: int = 0, **environment: str) -> str:
    """What it printed to stdout; ``hwnas`` is on its path."""
    path = f"{HWNAS.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def commands(folder: Path) -> list[list[str]]:
    """Those of the README that begin with hwnas."""
    return [line.split() for line in re.findall(r"^    (hwnas .*)$", (folder / "README.md").read_text(), re.MULTILINE)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.systems
def test_each_folder_has_a_readme_and_is_run_here(root: Path) -> None:
    folders = sorted(path.name for path in (root / "examples").iterdir() if path.is_dir())
    assert folders == FOLDERS
    table = (root / "examples" / "README.md").read_text()
    assert [name for name in folders if f"[{name}]({name}/README.md)" not in table] == []
    assert [name for name in folders if not (root / "examples" / name / "README.md").is_file()] == []


@pytest.mark.systems
def test_a_study_of_two_devices_holds_together(examples: Path) -> None:
    """Also the device that only a limit names; tests/test_own_training.py has a dry run of own networks and data."""
    folder = examples / "two-devices-energy"
    printed = run(folder, "hwnas", "search", "doorbell.toml", "--fleet", "fleet.toml", "--dry-run")
    metrics = dict(line.split(" = ") for line in printed.splitlines())
    asked = re.findall(r'^metric = "(.*)"$', (folder / "doorbell.toml").read_text(), re.MULTILINE)
    assert set(asked) <= set(metrics)


@pytest.mark.soak
def test_one_model_on_all_targets(examples: Path) -> None:
    profile, *_ = commands(examples / "targets")
    printed = run(examples / "targets", *profile, "--budget", "1s", "--json")
    found = {one["target"]: one for one in json.loads(printed)["profiles"]}
    assert set(found) == {"fp32", "threads2", "int8", "torch"}
    assert found["int8"]["model_size_mb"] < found["fp32"]["model_size_mb"]
    assert found["torch"]["output_error"] < 1e-4


@pytest.mark.systems
def test_two_boards(examples: Path, tmp_path: Path) -> None:
    if reason := lacking():
        pytest.skip(reason)
    folder, fleet = examples / "two-boards", examples / "two-boards" / "fleet.toml"
    (tmp_path / "lab").mkdir()
    with boards(2, tmp_path / "lab") as lab:
        text = fleet.read_text()
        for board, host in zip(lab, ("pi5-a.lab", "pi5-b.lab"), strict=True):
            keys = f'host = "{board.name}"\npython = "{sys.executable}"\nconfig = "{board.config}"\n#'
            text = text.replace(f'host = "{host}"', keys)
        fleet.write_text(text)
        check, profile = commands(folder)
        checked = json.loads(run(folder, *check, "--json"))
        assert [one["device"] for one in checked["devices"]] == ["a", "b"]
        found = json.loads(run(folder, *profile, "--budget", "1s", "--json"))["profiles"]
    assert [(one["target"], one["target_device"]) for one in found] == [("board-a", "a"), ("board-b", "b")]


@pytest.mark.soak
def test_networks_and_data_of_ones_own(examples: Path) -> None:
    (search, *_) = commands(examples / "own-model")
    run(examples / "own-model", *search, "--no-report")
    trials = rows(examples / "own-model" / "runs" / "bearings" / "trials.csv")
    assert len(trials) == 12
    assert max(float(row["val_accuracy"] or 0) for row in trials) > 0.8  # it learns what a knock is


@pytest.mark.soak
def test_two_devices_and_a_limit_on_energy(examples: Path) -> None:
    folder = examples / "two-devices-energy"
    search, pareto = commands(folder)
    run(folder, *search, "--no-report")
    front = rows(folder / "runs" / "doorbell" / "pareto.csv")
    assert front and all(float(row["energy_mj@camera"]) <= 2.0 for row in front)
    assert all(float(row["latency_ms@gateway"]) > 0 for row in front)
    least = min(float(row["energy_mj@camera"]) for row in front)
    picked = json.loads(run(folder, *pareto[:-1], f"energy_mj@camera={least * 1.0001}", "--json"))
    assert len(picked["front"]) == 1


@pytest.mark.soak
def test_a_meter_of_ones_own(examples: Path) -> None:
    (one,) = json.loads(run(examples / "own-meter", "sh", "measure.sh", "--json"))["profiles"]
    if one["energy_mj"] is None:  # a machine that is not at rest has no figure, and says so
        assert "idle" in one["energy_reason"] and "no meter" not in one["energy_reason"]
    else:
        assert one["meter"] == "lab: power_w" and "made_up" in one["flags"]
        assert one["energy_mj"] > 0


@pytest.mark.soak
def test_the_tutorial_with_lightning(examples: Path) -> None:
    """On the digits that scikit-learn ships, so that nothing is fetched; the script and the study are the example's."""
    pytest.importorskip("lightning", reason="needs lightning: make soak EXTRAS=dev,lightning")
    folder = examples / "lightning"
    (search,) = commands(folder)
    changes: list[Any] = ["--set", "data.name=digits", "--set", "confirm.seeds=1", "--set", "objective.0.threshold=0.3"]
    run(folder, *search, *changes, "--trials", "4", "--no-report")
    trials = rows(folder / "runs" / "mnist-lightning" / "trials.csv")
    assert [row["state"] for row in trials] == ["completed"] * 4
    curves = list((folder / "runs" / "mnist-lightning" / "trials").glob("*/job/tb/events.*"))
    assert len(curves) == 4


@pytest.mark.soak
def test_the_commands_of_the_first_page(root: Path, examples: Path) -> None:
    """docs/start.md after its installation: a search of a few trials, then each command as it stands there."""
    folder = examples.parent
    run(folder, "hwnas", "search", "studies/digits.toml", "--trials", "6", "--no-report")
    text = (root / "docs" / "start.md").read_text()
    written = re.findall(r"^    \.venv/bin/(hwnas .*)$", text, re.MULTILINE)
    assert [line.split()[1] for line in written] == ["pareto", "profile", "profile", "compare"]
    pareto, profile, shaped, compare = (line.split() for line in written)
    limit = max(float(row["latency_ms@local"]) for row in rows(folder / "runs" / "digits" / "pareto.csv"))
    assert run(folder, *pareto[:-1], f"latency_ms@local={limit}")
    front = sorted(str(path) for path in (folder / "runs" / "digits" / "front").glob("*.onnx"))
    assert len(run(folder, *profile[:2], *front, *profile[3:], "--budget", "2s").splitlines()) == len(front) + 1
    assert shaped[2:] == ["model.onnx", "--shape", "input=1x3x224x224"]
    found = json.loads(run(folder, *compare, "--budget", "5s", "--json"))["comparisons"]
    assert [(one["base"], one["other"]) for one in found] == [("resnet8", "mobilenetv1_025")]
