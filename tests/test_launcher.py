"""The launcher with real local jobs: stopping, continuing, cancelling, adopting, and what a killed one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_for

from nas.account import Account
from nas.jobs import Jobs, Key
from nas.launcher import Launcher
from nas.training.outcome import read_outcome
from profiles import files
from profiles.errors import InputError, UnavailableError

SLEEP = "import time; time.sleep(600)"
# Ignores SIGTERM, and has a child of its own, whose number it writes down.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2] + "/child", "w").write(str(child.pid) + "\\n")
time.sleep(600)
"""
GOOD = "import sys; open(sys.argv[2] + '/metrics.json', 'w').write('{\"val_accuracy\": 0.5}')"


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    yield Launcher()


def submit(launcher: Launcher, folder: Path, code: str) -> tuple[str, Path]:
    (folder / "script.py").write_text(code)
    (folder / "candidate.json").write_text("{}")
    out = folder / "job"
    return launcher.submit(folder / "candidate.json", out, folder / "script.py"), out


def test_a_job_runs_to_its_end_and_can_be_adopted(launcher: Launcher, tmp_path: Path) -> None:
    handle, out = submit(launcher, tmp_path, GOOD)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    outcome = read_outcome(out)
    assert (outcome.reason, outcome.metrics) == (None, {"val_accuracy": 0.5})
    assert outcome.wall_s is not None and outcome.cpu_s is not None
    assert Launcher().adopt(out) == handle  # a later controller need not train it again
    assert not launcher.pause(out) and not launcher.resume(out)


def test_a_job_whose_submission_was_cut_off_is_not_done_again(launcher: Launcher, tmp_path: Path) -> None:
    """Its controller was killed before it wrote the handle down: the job has said it."""
    handle, out = submit(launcher, tmp_path, GOOD)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    (out / "handle").unlink()
    assert Launcher().adopt(out) == handle


def test_a_job_that_was_submitted_twice_runs_once(launcher: Launcher, tmp_path: Path) -> None:
    """The first is still in the queue when the second is submitted: it finds another ticket than its own."""
    (tmp_path / "script.py").write_text(GOOD)
    (tmp_path / "candidate.json").write_text("{}")
    out = tmp_path / "job"
    first, second = (
        launcher.request(tmp_path / "candidate.json", out, tmp_path / "script.py", ticket) for ticket in ("1", "2")
    )
    files.write_text(out / "ticket", "2")
    for request, code in ((first, 1), (second, 0)):
        (replicas,) = request.request.role_params.values()
        assert subprocess.run(list(replicas[0].args), env=os.environ | replicas[0].env, timeout=60).returncode == code
        assert (out / "job.json").exists() == (code == 0)
    assert read_outcome(out).metrics == {"val_accuracy": 0.5}


def test_files_of_a_script_that_look_like_the_jobs_own(launcher: Launcher, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
out = Path(sys.argv[2])
for name in ("result.json", "job.json"):
    (out / name).write_text('{"mine": 1}')
(out / "written").touch()
time.sleep(600)
"""
    handle, out = submit(launcher, tmp_path, code)
    wait_for((out / "written").exists)
    assert launcher.state(handle, out) == "running"
    assert not launcher.pause(out)  # its group is no longer known
    launcher.cancel(handle)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    assert "SIGTERM" in str(read_outcome(out).reason)


def test_a_job_that_was_just_started_can_be_stopped_and_continued(launcher: Launcher, tmp_path: Path) -> None:
    handle, out = submit(launcher, tmp_path, SLEEP)
    assert launcher.pause(out)
    group = files.read_json(out / "job.json")["pgid"]  # type: ignore[index]
    wait_for(lambda: state(group) == "T")
    assert launcher.state(handle, out) == "running"
    assert launcher.resume(out)
    wait_for(lambda: state(group) == "S")
    launcher.cancel(handle)
    wait_for(lambda: state(group) is None)


def test_a_job_that_is_slow_to_start_is_waited_for_before_something_is_measured(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.local_jobs._START_S", 0.0)
    handle, out = submit(launcher, tmp_path, SLEEP)
    assert launcher.pause(out)
    launcher.cancel(handle)
    assert not launcher.pause(tmp_path / "none")
    files.write_text(tmp_path / "gone" / "handle", "local_cwd://hwnas/gone")
    assert not launcher.pause(tmp_path / "gone")


def test_a_training_took_as_long_as_it_did_not_stand_still(launcher: Launcher, tmp_path: Path) -> None:
    """The first is stopped; the second has ended by then, and nobody has looked yet."""
    code = "import sys, time; from pathlib import Path\nwhile not Path(sys.argv[2], 'go').exists(): time.sleep(0.01)"
    (tmp_path / "script.py").write_text(code)
    (tmp_path / "candidate.json").write_text("{}")
    jobs = Jobs(launcher, parallel=2, timeout_s=60.0, script=str(tmp_path / "script.py"), account=Account())
    outs = [tmp_path / str(trial) / "job" for trial in range(2)]
    for trial, out in enumerate(outs):
        jobs.start(Key(trial=trial), tmp_path / "candidate.json", out)
    (outs[1] / "go").touch()
    wait_for((outs[1] / "result.json").exists)
    with jobs.standing_still():
        time.sleep(0.5)
    (outs[0] / "go").touch()
    wait_for((outs[0] / "result.json").exists)
    took_s = {key.trial: outcome.wall_s or 0.0 for key, outcome in jobs.ended()}
    whole_s = [read_outcome(out).wall_s or 0.0 for out in outs]
    assert 0.0 < took_s[0] <= whole_s[0] - 0.5
    assert took_s[1] == whole_s[1] > 0.0


def test_cancelling_ends_a_stopped_job_that_ignores_sigterm_with_all_it_started(
    launcher: Launcher, tmp_path: Path
) -> None:
    handle, out = submit(launcher, tmp_path, STUBBORN)
    child = wait_for(lambda: number(out / "child"))
    launcher.pause(out)
    thread = threading.Thread(target=launcher.cancel, args=(handle,))
    thread.start()
    wait_for(lambda: launcher.state(handle, out) == "ended" and state(child) is None)
    thread.join()
    outcome = read_outcome(out)
    assert outcome.reason is not None and "SIGKILL" in outcome.reason and "memory" not in outcome.reason
    assert launcher.adopt(out) is None


def test_nothing_is_left_of_a_killed_supervisor(launcher: Launcher, tmp_path: Path) -> None:
    handle, out = submit(launcher, tmp_path, STUBBORN)
    child = wait_for(lambda: number(out / "child"))
    job = files.read_json(out / "job.json")
    assert job is not None
    os.kill(job["pid"], signal.SIGKILL)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    wait_for(lambda: state(job["pgid"]) is None and state(child) is None)
    outcome = read_outcome(out)
    assert outcome.transient and outcome.reason is not None and "without a result" in outcome.reason
    assert launcher.adopt(out) is None


def test_a_job_outlives_the_thread_that_submitted_it(launcher: Launcher, tmp_path: Path) -> None:
    """Linux counts the death of a thread as that of the parent; the supervisor looks twice."""
    handles: list[tuple[str, Path]] = []
    thread = threading.Thread(target=lambda: handles.append(submit(launcher, tmp_path, SLEEP)))
    thread.start()
    thread.join()
    ((handle, out),) = handles
    assert launcher.pause(out) and launcher.resume(out)  # its supervisor had time to hear of the thread's end
    time.sleep(0.5)
    assert launcher.state(handle, out) == "running"
    launcher.cancel(handle)


def test_a_session_starts_more_jobs_than_torchx_keeps(tmp_path: Path) -> None:
    """It lets go of those alone that it was asked about after their end, and a result file asks nobody."""
    launcher = Launcher()
    launcher._runner._scheduler("local_cwd")._cache_size = 2
    outs = [to_its_end(launcher, tmp_path / str(number)) for number in range(4)]
    assert [read_outcome(out).reason for out in outs] == [None] * 4
    first = files.read_json(outs[0] / "job.json")
    assert first is not None and not Path(f"/proc/{first['pid']}").exists()  # not even its zombie


def test_ctrl_c_stays_the_controllers(launcher: Launcher) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    Launcher()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_unknown_scheduler_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"train\.scheduler: given 'locl'; accepted: .*local_cwd.*slurm"):
        Launcher("locl")


def test_a_folder_that_cannot_be_written_is_one_line(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match=r"job: (Permission denied|Not a directory|File exists)"):
        submit(launcher, tmp_path, GOOD)


def test_odd_names_reach_the_job_as_they_are(launcher: Launcher, tmp_path: Path) -> None:
    """Dollar signs, which TorchX would replace, spaces, quotes, letters of other alphabets."""
    folder = tmp_path / "é ${app_id} $HOME 'quoted' \"so\"; rm -rf x"
    folder.mkdir()
    handle, out = submit(launcher, folder, GOOD)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    assert read_outcome(out).metrics == {"val_accuracy": 0.5}


def to_its_end(launcher: Launcher, folder: Path) -> Path:
    folder.mkdir()
    handle, out = submit(launcher, folder, GOOD)
    wait_for(lambda: launcher.state(handle, out) == "ended")
    return out


def state(pid: int) -> str | None:
    """'R', 'S', 'T', ...; ``None`` where there is no such process, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if letter in "ZX" else letter


def number(path: Path) -> int | None:
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else None


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which is Linux's")
