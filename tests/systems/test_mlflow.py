"""What ``open_study(...).to_mlflow(...)`` writes, read and imported by MLflow itself, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_example import write_example

from nas import open_study

pytestmark = pytest.mark.soak

PACKAGES = ["mlflow-skinny==3.17.2", "sqlalchemy>=2", "alembic", "pandas"]
READER = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(sys.argv[1])
(experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
runs = client.search_runs([experiment.experiment_id], max_results=1000)
history = {r.info.run_name: len(client.get_metric_history(r.info.run_id, "curve/val_accuracy")) for r in runs}
print(json.dumps({r.info.run_name: [r.info.status, r.data.params, r.data.metrics, r.data.tags,
                                    history[r.info.run_name]] for r in runs}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq", "install", *PACKAGES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"MLflow cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


def read(python: Path, uri: str, folder: Path) -> dict[str, Any]:
    """Run name -> the rest, as MLflow's client gives them."""
    environment = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true"}
    command = [str(python), "-c", READER, uri]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_mlflow_reads_the_folder_and_imports_it(python: Path, tmp_path: Path) -> None:
    write_example(tmp_path / "run")
    study = open_study(tmp_path / "run")
    study.to_mlflow(tmp_path / "mlruns")
    found = read(python, (tmp_path / "mlruns").as_uri(), tmp_path)
    assert len(found) == 24
    member = study.results.front[0]
    status, params, metrics, tags, steps = found[f"trial {member}"]
    figures = study.results.figures(member)
    assert (status, tags["hwnas.state"], tags["hwnas.front"], steps) == ("FINISHED", "completed", "true", 13)
    assert metrics["latency_ms_at_local"] == figures["latency_ms@local"]
    assert params["width"] == str(study.results.trials[member].choices["width"])
    assert found["trial 9"][0] == "FAILED"

    target = f"sqlite:///{tmp_path / 'mlflow.db'}"
    migrate = [str(python.with_name("mlflow")), "migrate-filestore", "--source", str(tmp_path / "mlruns"), "--target"]
    done = subprocess.run([*migrate, target], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(python, target, tmp_path) == found
