"""Training jobs on a real Slurm with accounting and memory limits, brought up on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from processes import wait_for

from benchmarks.figures._server import Server
from devices.session import connect
from devices.transports.torchx import Device
from nas.account import Account
from nas.jobs import Jobs, Key
from nas.launcher import Launcher
from nas.results import read_results
from nas.training.curves import read_curves
from nas.training.outcome import Outcome, read_outcome
from profiles.errors import InputError, UnavailableError
from profiles.records import Target

pytestmark = pytest.mark.systems
SCRIPT = Path(__file__).with_name("slurm.sh")
GOOD = "import sys; open(sys.argv[2] + '/metrics.json', 'w').write('{\"val_accuracy\": 0.5}')"
SLEEP = "import time; time.sleep(600)"
MEMORY = "import time; kept = bytearray(600_000_000); time.sleep(600)"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("needs root and Debian's packages")
    folder = tmp_path_factory.mktemp("slurm", numbered=False)
    subprocess.run([SCRIPT, "start", folder], check=True)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    del os.environ["SLURM_CONF"]
    subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def launcher(slurm: Path) -> Launcher:
    return Launcher("slurm", {"partition": "main", "time": "1"}, memory_mb=300)


def submit(launcher: Launcher, folder: Path, code: str, name: str = "job") -> tuple[str, Path]:
    (folder / "script.py").write_text(code)
    (folder / "candidate.json").write_text("{}")
    return launcher.submit(folder / "candidate.json", folder / name, folder / "script.py"), folder / name


def ended(launcher: Launcher, handle: str, out: Path, timeout_s: float = 60) -> Outcome:
    wait_for(lambda: launcher.state(handle, out) == "ended", timeout_s)
    return read_outcome(out, launcher.word(handle))


def test_a_job_runs_to_its_end_and_leaves_nothing_where_hwnas_was_started(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    handle, out = submit(launcher, tmp_path, GOOD)
    assert ended(launcher, handle, out).metrics == {"val_accuracy": 0.5}
    assert not list((tmp_path / "here").iterdir())
    assert Launcher("slurm").adopt(out) == handle


def test_how_a_job_ended_is_told_apart(launcher: Launcher, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("time", "memory", "cancelled", "crashed")}
    for folder in folders.values():
        folder.mkdir()
    slow = submit(launcher, folders["time"], SLEEP)
    outcome = ended(launcher, *submit(launcher, folders["memory"], MEMORY))
    assert "out of memory" in str(outcome.reason) and not outcome.transient
    outcome = ended(launcher, *submit(launcher, folders["crashed"], "import sys; sys.exit('out of luck')"))
    assert outcome.reason == "exit code 1: out of luck" and not outcome.transient
    handle, out = submit(launcher, folders["cancelled"], SLEEP)
    wait_for(lambda: launcher.begun(out))
    subprocess.run(["scancel", handle.rpartition("/")[2]], check=True)
    outcome = ended(launcher, handle, out)
    assert "Slurm: cancelled" in str(outcome.reason) and not outcome.transient
    outcome = ended(launcher, *slow, timeout_s=150)
    assert "out of time" in str(outcome.reason) and not outcome.transient


def test_a_killed_job_is_transient(launcher: Launcher, tmp_path: Path) -> None:
    """By somebody on the node, not by Slurm: trying again can help."""
    handle, out = submit(launcher, tmp_path, SLEEP)
    wait_for(lambda: launcher.begun(out))
    os.killpg(json.loads((out / "job.json").read_text())["pgid"], signal.SIGKILL)
    outcome = ended(launcher, handle, out)
    assert outcome.transient and "SIGKILL" in str(outcome.reason)


def test_a_job_that_waits_in_the_queue_runs_and_has_not_begun(launcher: Launcher, tmp_path: Path) -> None:
    subprocess.run(["scontrol", "update", "PartitionName=main", "State=DOWN"], check=True)
    try:
        handle, out = submit(launcher, tmp_path, GOOD)
        assert launcher.state(handle, out) == "running" and not launcher.begun(out)
    finally:
        subprocess.run(["scontrol", "update", "PartitionName=main", "State=UP"], check=True)
    assert ended(launcher, handle, out).reason is None


def test_a_partition_that_takes_no_jobs_for_a_while_is_asked_again(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.patience._TELL_S", 0.0)
    (tmp_path / "script.py").write_text(GOOD)
    (tmp_path / "candidate.json").write_text("{}")
    told: list[str] = []
    script = str(tmp_path / "script.py")
    jobs = Jobs(launcher, parallel=2, timeout_s=60, script=script, account=Account(), tell=told.append)
    found: dict[int, str | None] = {}

    def all_ended() -> bool:
        found.update({key.trial: outcome.reason for key, outcome in jobs.ended()})
        return not jobs.running

    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "0" / "job")
    subprocess.run(["scontrol", "update", "PartitionName=main", "State=DRAIN"], check=True)
    try:
        jobs.start(Key(trial=1), tmp_path / "candidate.json", tmp_path / "1" / "job")
        assert "sbatch: error: " in told[0] and "asking again" in told[0]
    finally:
        subprocess.run(["scontrol", "update", "PartitionName=main", "State=UP"], check=True)
    wait_for(all_ended, 60)
    assert found == {0: None, 1: None} and told[1:] == ["the scheduler takes jobs again"]


def test_without_accounting_the_controller_is_asked(launcher: Launcher, slurm: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (tmp_path / "bin" / "sacct").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        handle, out = submit(launcher, tmp_path, SLEEP)
        wait_for(lambda: launcher.begun(out))
        assert launcher.state(handle, out) == "running"
        launcher.cancel(handle)
        assert "Slurm: cancelled" in str(ended(launcher, handle, out).reason)


def test_the_digits_study_runs_on_slurm_and_survives_its_controller(
    slurm: Path, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while jobs train; they go on meanwhile and are adopted. No candidate is trained twice.

    Its events lie in PostgreSQL.
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.cli", "search", str(root / "studies" / "digits.toml"), "--resume"]
    command += ["--store", postgres.url]
    for setting in ("train.scheduler=slurm", "train.options.time=5", "train.memory_mb=2000", "budget.trials=5",
                    "train.epochs=2", "confirm.seeds=1", "search.initial_trials=5"):  # fmt: skip
        command += ["--set", setting]
    run = tmp_path / "runs" / "digits"
    environment = os.environ | {"PYTHONPATH": str(root)}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment)
    wait_for(lambda: any(run.glob("trials/*/job/job.json")) or first.poll() is not None, 300)
    assert first.poll() is None
    first.kill()
    first.wait()
    handles = {path: path.read_text() for path in run.glob("trials/*/job/handle")}
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
    assert "no report" not in again.stderr and (run / "report.html").is_file() and not (run / "study.db").exists()
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    results = read_results(run)
    assert len(results.trials) == 5 and {trial.state for trial in results.trials} <= {"completed", "gated"}
    assert handles and all(path.read_text() == handle for path, handle in handles.items())
    trained = [trial for trial in results.trials if trial.state == "completed"]
    assert sum(event.kind == "completed" for event in results.events) == len(trained)
    assert not [path.name for path in tmp_path.iterdir() if path.name != "runs"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL on a server of this machine that speaks S3; jobs have its address and keys from the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **dict.fromkeys(keys, "lab")}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("lab")
    yield "s3://lab/hwnas"
    server.stop()


def test_files_pass_through_a_bucket(slurm: Path, bucket: str, tmp_path: Path) -> None:
    """The study from its start to its front, early stopping's curves included."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.cli", "search", str(root / "studies" / "digits.toml")]
    for setting in ("train.scheduler=slurm", "train.options.time=5", "train.memory_mb=2000", "budget.trials=2",
                    "train.epochs=2", "confirm.seeds=1", "search.initial_trials=2",
                    f"train.storage={bucket}"):  # fmt: skip
        command += ["--set", setting]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "runs" / "digits")
    assert results.front and {trial.state for trial in results.trials} <= {"completed", "gated"}
    for index in results.front:
        job = results.folder.trial(index).job
        assert read_curves(job) and (job / "weights.pt").is_file()
    assert fsspec.filesystem("s3", skip_instance_cache=True).find("lab") == []  # nothing is left there


def test_options_that_slurm_does_not_take_are_one_line(slurm: Path) -> None:
    with pytest.raises(InputError, match=r"train\.options\.partitoin: given 'main'; accepted: comment, .*partition"):
        Launcher("slurm", {"partitoin": "main"})
    with pytest.raises(InputError, match=r"train\.options\.partition: given True; accepted: str"):
        Launcher("slurm", {"partition": True})


def test_a_node_is_a_device_until_its_job_is_cancelled(slurm: Path, tmp_path: Path) -> None:
    node = Device(
        scheduler="slurm", folder=tmp_path / "shared", python=sys.executable, options={"partition": "main", "time": "5"}
    )
    with connect(node, "node") as session:
        target = Target(name="node", device="node", engine="null", provider="100us")
        request: dict[str, Any] = {
            "target": dataclasses.asdict(target),
            "arms": [{"name": "calibration", "model": None}],
        }
        request |= {"groups": 1, "max_groups": 1, "block_ms": 1.0, "warm_up_ms": 0.0, "seed": 0}
        assert session.request("latency", **request)["done"]
        jobs = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()
        assert len(jobs) == 1
        subprocess.run(["scancel", jobs[0]], check=True)
        request["target"]["provider"] = "9999999ms"
        with pytest.raises(UnavailableError, match="device node: the connection ended: the job "):
            session.request("latency", **request)
    wait_for(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout)
