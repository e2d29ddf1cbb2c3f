"""A device that is a job of Slurm, whose commands are stand-ins; tests/systems/test_slurm.py has a real cluster."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import reason_of, wait_for
from test_slurm_jobs import Cluster
from test_torchx import NULL, SHORT

from devices.session import Session, connect
from devices.transports.torchx import Device


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Their job runs, here."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = Cluster(tmp_path / "bin")
    found.does("srun", 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"')
    found.does("sbatch", 'for file in "$@"; do :; done\nSLURM_JOB_ID=7 setsid bash "$file" > /dev/null 2>&1 &\necho 7')
    return found


@pytest.fixture
def node(commands: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    return Device(scheduler="slurm", folder=tmp_path / "shared", python=sys.executable, cpu=3)


def latency(session: Session) -> dict[str, Any]:
    arms = [{"name": "calibration", "model": None}]
    return session.request("latency", target=dataclasses.asdict(NULL), arms=arms, deadline_s=15.0, **SHORT)


def test_its_job_gets_its_cores_and_runs_once(node: Device) -> None:
    with connect(node, "node") as session:
        assert latency(session)["done"]
        script = next(node.folder.glob("sessions/*/torchx/torchx-sbatch.sh")).read_text()
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    assert "--cpus-per-task=3" in line and "--no-requeue" in script and "--requeue" not in script


def test_a_scheduler_that_hangs_keeps_no_answer_back(commands: Cluster, node: Device) -> None:
    """sacct hangs for longer than a request may take."""
    commands.does("sacct", "exec sleep 60")
    with connect(node, "node") as session:
        wait_for(lambda: commands.calls("sacct"))
        for _ in range(3):
            assert latency(session)["done"]
        assert len(commands.calls("sacct")) == 1


def test_without_accounts_its_job_is_cancelled_all_the_same(commands: Cluster, node: Device) -> None:
    commands.does("sacct", "exit 1")
    commands.does("sbatch", "echo 7")  # and it waits in the queue
    device = node.model_copy(update={"start_s": 1.0})
    assert "the job slurm://hwnas/7 did not start within 1 s" in reason_of(lambda: connect(device, "node"))
    assert wait_for(lambda: commands.calls("scancel")) == ["scancel 7"]
