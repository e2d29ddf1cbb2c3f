"""The pytest plugin in real runs of pytest: the suite of ``benchmarks/``, and a project of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import _nets
from profiles.store import Store

FLEET = """
[devices.far]
transport = "null"
time_ms = 20
[targets.far]
device = "far"
engine = "null"
"""
OWN = """
import pytest

@pytest.mark.benchmark(group="mine")
def test_reported(hwnas_profile, benchmark):
    profile = hwnas_profile("m.onnx")
    assert 0.9 < profile.latency_ms.p50 < 5
    assert profile.harness_us is not None
    hwnas_profile("m.onnx")

def test_too_slow(hwnas_profile):
    assert hwnas_profile("m.onnx").latency_ms.p50 < 0.5

def test_missing(hwnas_profile):
    hwnas_profile("none.onnx")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "fleet.toml").write_text(FLEET)
    options = ["--hwnas-fleet", "fleet.toml", "--hwnas-target", "far", "--hwnas-within", "50%", "--hwnas-budget", "1s"]
    command = [sys.executable, "-m", "pytest", *arguments, *options, "--benchmark-json=results.json"]
    # Without what pytest-xdist tells its workers: pytest-benchmark switches itself off there.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def results(folder: Path) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    assert set(found["machine_info"]["hwnas"]) == {"far"}
    benchmarks: list[dict[str, Any]] = found["benchmarks"]
    return benchmarks


def test_the_folder_benchmarks_is_a_suite_that_pytest_benchmark_reads(root: Path, tmp_path: Path) -> None:
    done = run(tmp_path, str(root / "benchmarks"), "-k", "autoencoder")
    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = results(tmp_path)
    assert one["name"] == "test_latency[autoencoder]"
    assert one["options"]["timer"] == "device_time"
    # The null device infers in 1 ms and takes 20 ms for a request.
    assert 0.0009 < one["stats"]["median"] < 0.002
    assert one["stats"]["rounds"] == len(one["stats"]["data"]) >= 12
    assert one["extra_info"]["target"] == "far"
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "results.json", "--csv=compared.csv"]
    compared = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stderr
    assert "test_latency[autoencoder]" in (tmp_path / "compared.csv").read_text()


def test_a_project_of_ones_own_takes_the_fixtures(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "m.onnx")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["benchmarks.pytest_plugin"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_own.py").write_text(OWN)
    done = run(tmp_path)
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "none.onnx: there is no such model file" in done.stdout
    (one,) = results(tmp_path)
    assert (one["name"], one["group"]) == ("test_reported", "mine")
    with Store(tmp_path / "hwnas.db") as store:
        assert len(store.profiles()) == 3


def test_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, benchmarks.pytest_plugin\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "torch", "onnx", "scipy", "pandas", "sqlalchemy"} & set(done.stdout.split()) == set()


def test_benchmarks_can_be_switched_off(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "m.onnx")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p benchmarks.pytest_plugin\n")
    (tmp_path / "test_own.py").write_text("def test_one(hwnas_profile, benchmark):\n    hwnas_profile('m.onnx')\n")
    done = run(tmp_path, "--benchmark-disable")
    assert "1 passed" in done.stdout, done.stdout
