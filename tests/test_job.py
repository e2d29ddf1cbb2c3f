"""Training jobs as real processes: how each way of ending is told, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_for

from nas.training.outcome import Word, read_outcome
from profiles import files

GOOD = "from pathlib import Path; import sys; (Path(sys.argv[2]) / 'metrics.json').write_text('{\"val_rmse\": 0.25}')"

# A script that hears of it and ends with a code of its own.
STOPS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
READY
time.sleep(600)
"""


def run(folder: Path, code: str) -> Path:
    """The job's folder, after the script ``code`` ended under the supervisor."""
    out = start(folder, code)[1]
    return out


def start(folder: Path, code: str, wait: bool = True) -> tuple[subprocess.Popen[bytes], Path]:
    (folder / "script.py").write_text(code)
    (folder / "candidate.json").write_text("{}")
    out = folder / "out"
    arguments = [str(folder / "candidate.json"), str(out), str(folder / "script.py"), "--grace", "0.5"]
    job = subprocess.Popen([sys.executable, "-m", "nas.training.job", *arguments], cwd=Path(__file__).parent.parent)
    if wait:
        job.wait(60)
    return job, out


def test_metrics_of_any_name_are_the_outcome(tmp_path: Path) -> None:
    outcome = read_outcome(run(tmp_path, GOOD))
    assert outcome.reason is None and outcome.metrics == {"val_rmse": 0.25}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('no luck', file=sys.stderr); sys.exit(7)", ["exit code 7", "no luck"]),
        ("raise ValueError('shape')", ["exit code 1", "ValueError: shape"]),
        ("pass", ["exit code 0", "metrics.json is missing"]),
        (GOOD.replace("0.25", "NaN"), ["val_rmse", "nan", "finite number"]),
        (GOOD.replace('{"val_rmse": 0.25}', "[1]"), ["metrics.json", "one object"]),
        (GOOD.replace("0.25", "1" + "0" * 400), ["val_rmse", "finite number"]),
        (GOOD.replace('{"val_rmse": 0.25}', "[" * 9000), ["metrics.json is not JSON"]),
        (GOOD.replace("0.25}'", "' + '1' * 2_000_000 + '}'"), ["metrics.json", "up to 1,048,576 bytes"]),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ["SIGKILL", "out of memory"]),
        ("import ctypes; ctypes.string_at(0)", ["SIGSEGV"]),
    ],
)
def test_every_failure_has_its_reason(tmp_path: Path, code: str, words: list[str]) -> None:
    outcome = read_outcome(run(tmp_path, code))
    assert outcome.reason is not None and "\n" not in outcome.reason
    for word in words:
        assert word in outcome.reason


def test_a_log_of_100_mb_is_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    out = run(tmp_path, "import sys\nfor _ in range(1600): sys.stderr.write('x' * 65535 + '\\n')\nsys.exit('the end')")
    assert sum(path.stat().st_size for path in out.iterdir() if path.is_file()) < 20e6
    assert "the end" in str(read_outcome(out).reason)


def test_a_job_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2] + "/child", "w").write(str(child.pid))
time.sleep(600)
"""
    job, out = start(tmp_path, code, wait=False)
    wait_for(lambda: (out / "child").exists() and bool((out / "child").read_text()))
    job.terminate()
    job.wait(20)
    assert read_outcome(out).reason is not None
    wait_for(lambda: not alive(int((out / "child").read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_nothing_is_left_of_a_killed_controller_also_while_its_job_stands_still(tmp_path: Path) -> None:
    """A controller submits a job, stops it, and is killed with SIGKILL."""
    (tmp_path / "script.py").write_text("import time; time.sleep(600)")
    (tmp_path / "trials" / "0").mkdir(parents=True)
    candidate = tmp_path / "trials" / "0" / "candidate.json"
    candidate.write_text("{}")
    code = """
import sys, time
from pathlib import Path
from nas.launcher import Launcher
launcher, out = Launcher(), Path(sys.argv[2])
launcher.submit(Path(sys.argv[1]), out, Path(sys.argv[3]))
assert launcher.pause(out)
print("stopped", flush=True)
time.sleep(600)
"""
    out = candidate.parent / "job"
    controller = subprocess.Popen(
        [sys.executable, "-c", code, str(candidate), str(out), str(tmp_path / "script.py")],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
    )
    assert controller.stdout is not None and controller.stdout.readline() == b"stopped\n"
    job = json.loads((out / "job.json").read_text())
    assert alive(job["pid"]) and alive(job["pgid"])
    controller.kill()
    controller.wait()
    wait_for(lambda: not alive(job["pid"]) and not alive(job["pgid"]), 10)
    assert files.read_json(out / "result.json") is None


def test_the_request_to_the_scheduler_is_a_value(tmp_path: Path) -> None:
    from nas.launcher import Launcher

    request = Launcher().request(tmp_path / "c.json", tmp_path / "study" / "3" / "job", tmp_path / "own.py").request
    (replicas,) = request.role_params.values()
    arguments = list(replicas[0].args)
    assert arguments[:3] == [sys.executable, "-m", "nas.training.job"]
    assert str(tmp_path / "own.py") in arguments and str(os.getpid()) in arguments


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="signals to a supervisor")
@pytest.mark.parametrize("code", ["import time; READY; time.sleep(600)", STOPS], ids=["by the signal", "by itself"])
def test_a_training_whose_supervisor_is_asked_to_end_is_tried_again(tmp_path: Path, code: str) -> None:
    """Nobody of hwnas asked: what hwnas cancels is not asked how it ended."""
    job, out = start(tmp_path, code.replace("READY", "import sys; open(sys.argv[2] + '/up', 'w').close()"), wait=False)
    wait_for((out / "up").exists)
    job.terminate()
    job.wait(20)
    outcome = read_outcome(out)
    assert outcome.transient and outcome.reason is not None
    assert not read_outcome(out, Word(running=False, reason="Slurm: cancelled", transient=False)).transient
    other = read_outcome(out, Word(running=False, reason="kubernetes: failed", transient=None))
    assert other.transient and str(other.reason).startswith("kubernetes: failed; ")


def test_what_a_scheduler_says_of_a_job_that_failed_by_itself_does_not_have_it_tried_again(tmp_path: Path) -> None:
    out, word = run(tmp_path, "raise ValueError('shape')"), Word(running=False, reason="aws: failed", transient=None)
    assert not read_outcome(out, word).transient
    gone = Word(running=False, reason="aws no longer knows the job", transient=None, forgotten=True)
    assert not read_outcome(out, gone).transient
    (out / "result.json").unlink()  # a node that went away, an evicted pod
    assert read_outcome(out, word).transient and read_outcome(out, gone).transient
    known = Word(running=False, reason="Slurm: out of memory", transient=False)
    assert not read_outcome(out, known).transient
