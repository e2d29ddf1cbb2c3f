"""Training jobs on Slurm, whose commands are stand-ins: how often they are asked, and what follows from what they do.

tests/systems/test_slurm.py has a real cluster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import wait_for

from nas.account import Account
from nas.jobs import Jobs, Key
from nas.launcher import Launcher
from nas.slurm import Slurm
from nas.training.outcome import read_outcome
from profiles import files
from profiles.errors import UnavailableError

HANDLE = "slurm://hwnas/7"
CANCELLED = {"schema": 1, "exit_code": None, "signal": "SIGTERM", "cancelled": True}
CANCELLED |= {"wall_s": 1.0, "cpu_s": 1.0, "last_lines": ""}


class Cluster:
    """Scripts in a folder. Each writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = folder / "calls"
        self.does("sbatch", f"grep -c '^sbatch' {self._calls}")  # numbers the jobs from 1
        self.does("scancel", "exit 0")
        self.does("squeue", "exit 1")
        self.does("sinfo", "exit 1")
        self.has_all("RUNNING")

    def does(self, command: str, body: str) -> None:
        (self._folder / command).write_text(f'#!/bin/sh\necho "{command} $*" >> {self._calls}\n{body}\n')
        (self._folder / command).chmod(0o755)

    def has_all(self, state: str) -> None:
        """All jobs that the accounts are asked about are in that state."""
        lines = f"echo \"${{word#--jobs=}}\" | tr , '\\n' | sed 's/$/|{state}/'"
        self.does("sacct", f'for word in "$@"; do\ncase $word in --jobs=*) {lines};; esac\ndone')

    def calls(self, command: str) -> list[str]:
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [line for line in lines if line.split()[0] == command]

    def fails_until(self, command: str, times: int) -> None:
        self.does(command, f"test $(grep -c '^{command}' {self._calls}) -gt {times}")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Cluster(tmp_path / "bin")


def jobs_of(launcher: Launcher, tell: Callable[[str], None] = print) -> Jobs:
    return Jobs(launcher, parallel=5, timeout_s=60, script=None, account=Account(), tell=tell)


def test_one_question_is_about_all_jobs_that_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.slurm._ASK_S", 600.0)
    (tmp_path / "candidate.json").write_text("{}")
    jobs = jobs_of(Launcher("slurm"))
    for trial in range(5):
        jobs.start(Key(trial=trial), tmp_path / "candidate.json", tmp_path / str(trial) / "job")
    for _ in range(3):
        assert jobs.ended() == []
    assert len(jobs.running) == 5  # those that wait in the queue are not lost
    (call,) = cluster.calls("sacct")
    assert "--jobs=1,2,3,4,5" in call and "--format=JobID,State" in call and not cluster.calls("squeue")

    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    cluster.has_all("NODE_FAIL")
    assert [(key.trial, outcome.transient) for key, outcome in jobs.ended()] == [(trial, True) for trial in range(5)]
    cluster.has_all("RUNNING")
    jobs.start(Key(trial=5), tmp_path / "candidate.json", tmp_path / "5" / "job")
    assert jobs.ended() == []
    assert cluster.calls("sacct")[-1].endswith("--jobs=6")  # those that ended are not asked about any more


def test_a_command_that_hangs_is_left_alone_for_a_while(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.slurm._ANSWER_S", 3.0)
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    cluster.does("sacct", "exec sleep 600")
    cluster.does("squeue", "echo '7|RUNNING'")
    slurm = Slurm()
    words = [slurm.word("7") for _ in range(3)]
    assert all(word is not None and word.running for word in words)
    assert (len(cluster.calls("sacct")), len(cluster.calls("squeue"))) == (1, 3)
    cluster.does("squeue", "exit 1")
    assert [slurm.word("7") for _ in range(3)] == [None] * 3
    assert (len(cluster.calls("sacct")), len(cluster.calls("squeue"))) == (1, 4)

    monkeypatch.setattr("nas.slurm._LEAVE_S", -1.0)
    cluster.does("sacct", "exit 1")
    slurm = Slurm()
    assert [slurm.word("7") for _ in range(2)] == [None] * 2
    assert (len(cluster.calls("sacct")), len(cluster.calls("squeue"))) == (3, 6)


def test_a_first_job_that_slurm_refuses_ends_the_search_with_its_reason(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "candidate.json").write_text("{}")
    cluster.does("sbatch", "echo 'sbatch: error: invalid partition specified: big' >&2; exit 1")
    jobs = jobs_of(Launcher("slurm"))
    with pytest.raises(UnavailableError, match=r"slurm did not take the job .*: sbatch: error: invalid partition"):
        jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    assert jobs.running == []


def test_a_cluster_that_took_jobs_and_takes_none_now_is_asked_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its controller restarts, or there are as many of this user's jobs as may be."""
    monkeypatch.setattr("nas.patience._AGAIN_S", (3600.0,))
    monkeypatch.setattr("nas.patience._TELL_S", 0.0)
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    (tmp_path / "candidate.json").write_text("{}")
    took = (tmp_path / "bin" / "sbatch").read_text().splitlines()[-1]
    told: list[str] = []
    jobs = jobs_of(Launcher("slurm"), told.append)
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "0" / "job")
    cluster.does("sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    for trial in (1, 2):
        jobs.start(Key(trial=trial), tmp_path / "candidate.json", tmp_path / str(trial) / "job")
    assert jobs.ended() == [] and len(cluster.calls("sbatch")) == 2  # the third is not tried a moment later
    assert len(jobs.running) == 3 and jobs.free == 2
    cluster.does("sbatch", took)
    cluster.has_all("NODE_FAIL")
    assert [key.trial for key, _ in jobs.ended()] == [0]
    cluster.has_all("RUNNING")
    jobs.start(Key(trial=3), tmp_path / "candidate.json", tmp_path / "3" / "job")  # behind those that wait
    assert jobs.ended() == []  # there is room now: asked at once
    handles = [files.read_text(tmp_path / trial / "job" / "handle") for trial in "123"]
    assert handles == [f"slurm://hwnas/{number}" for number in (3, 4, 5)]
    assert [line.partition(";")[0].rpartition(": ")[2] for line in told] == [
        "QOSMaxSubmitJobPerUserLimit",
        "the scheduler takes jobs again",
    ]


def test_a_refusal_after_a_resumption_waits_for_the_jobs_that_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "candidate.json").write_text("{}")
    files.write_text(tmp_path / "0" / "job" / "handle", HANDLE)
    cluster.does("sbatch", "exit 1")
    jobs = jobs_of(Launcher("slurm"))
    for trial in (0, 1):
        jobs.start(Key(trial=trial), tmp_path / "candidate.json", tmp_path / str(trial) / "job")
    assert len(jobs.running) == 2 and jobs.ended() == []
    monkeypatch.setattr("nas.patience._AGAIN_S", (-1.0,))
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    cluster.has_all("NODE_FAIL")
    for _ in range(3):  # and for some minutes more
        jobs.ended()
    assert jobs.running == [Key(trial=1)]


def test_a_cluster_that_takes_none_for_long_ends_the_search_once_none_runs(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.patience._AGAIN_S", (-1.0,))
    monkeypatch.setattr("nas.patience.LONGEST_S", 0.0)
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    (tmp_path / "candidate.json").write_text("{}")
    jobs = jobs_of(Launcher("slurm"))
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "0" / "job")
    cluster.does("sbatch", "exit 1")
    jobs.start(Key(trial=1), tmp_path / "candidate.json", tmp_path / "1" / "job")
    for _ in range(3):
        assert jobs.ended() == []
    cluster.has_all("NODE_FAIL")
    assert [key.trial for key, _ in jobs.ended()] == [0]
    with pytest.raises(UnavailableError, match="sbatch: exit code 1"):
        jobs.ended()


def test_a_submission_that_hangs_is_refused_with_what_sbatch_said(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries again by itself where Slurm has too many jobs."""
    monkeypatch.setattr("nas.slurm._SUBMIT_S", 1.0)
    (tmp_path / "candidate.json").write_text("{}")
    cluster.does("sbatch", "echo 'sbatch: error: sleeping and retrying' >&2\nexec sleep 600")
    with pytest.raises(UnavailableError, match="sbatch: no answer within 1 s sbatch: error: sleeping and retrying"):
        jobs_of(Launcher("slurm")).start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")


def test_who_was_cut_off_while_it_submitted_leaves_the_handle_of_its_successor(
    cluster: Cluster, tmp_path: Path
) -> None:
    """That one has written a ticket of its own, and the late job will see it and end."""
    (tmp_path / "candidate.json").write_text("{}")
    out = tmp_path / "job"
    cluster.does("sbatch", f"printf other > {out}/ticket; printf slurm://hwnas/9 > {out}/handle; echo 7")
    assert Launcher("slurm").submit(tmp_path / "candidate.json", out) == "slurm://hwnas/9"
    assert files.read_text(out / "handle") == "slurm://hwnas/9" and cluster.calls("scancel") == ["scancel 7"]


def test_what_a_person_hears_of_a_queue_and_of_silence(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    monkeypatch.setattr("nas.slurm._LEAVE_S", -1.0)
    (tmp_path / "candidate.json").write_text("{}")
    cluster.has_all("PENDING")
    cluster.does("squeue", "echo PartitionTimeLimit")
    told: list[str] = []
    jobs = jobs_of(Launcher("slurm"), told.append)
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    jobs._running[Key(trial=0)].idle_since -= 1000.0  # type: ignore[operator]
    for _ in range(3):
        jobs.ended()
    assert told == ["a job has waited, queued or suspended, for 17 minutes: PartitionTimeLimit"]
    assert cluster.calls("squeue") == ["squeue --noheader --format=%r --jobs=1"]

    told.clear()
    monkeypatch.setattr("nas.waiting._SILENT_S", 0.0)
    files.write_json(tmp_path / "job" / "job.json", {})  # it has begun
    cluster.does("sacct", "exit 1")
    cluster.does("squeue", "exit 1")
    for _ in range(3):
        jobs.ended()
    cluster.has_all("RUNNING")
    jobs.ended()
    assert told == [
        "the scheduler has not answered for 0 minutes; its jobs are waited for",
        "the scheduler answers again",
    ]


def test_a_job_that_went_on_is_given_its_time_again_when_it_ends(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its result to arrive: Slurm said that the node failed, queued it again, and now says so once more."""
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    monkeypatch.setattr("nas.launcher._SETTLE_S", 1.0)
    launcher = Launcher("slurm")
    cluster.has_all("NODE_FAIL")
    assert launcher.state(HANDLE, tmp_path / "job") == "running"
    cluster.has_all("PENDING")
    assert launcher.state(HANDLE, tmp_path / "job") == "running"
    time.sleep(1.1)
    cluster.has_all("NODE_FAIL")
    assert launcher.state(HANDLE, tmp_path / "job") == "running"
    assert wait_for(lambda: launcher.state(HANDLE, tmp_path / "job") == "ended")


def test_a_job_that_slurm_suspends_does_not_grow_older(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.slurm._ASK_S", -1.0)
    (tmp_path / "candidate.json").write_text("{}")
    jobs = Jobs(Launcher("slurm"), parallel=1, timeout_s=0.5, script=None, account=Account())
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    files.write_json(tmp_path / "job" / "job.json", {})
    cluster.has_all("SUSPENDED")
    assert jobs.ended() == []  # it has begun
    time.sleep(0.6)
    assert jobs.ended() == []
    cluster.has_all("RUNNING")
    time.sleep(0.6)
    ((_, outcome),) = jobs.ended()
    assert outcome.reason == "no result within 0.5 s (train.timeout_s)"


def test_a_preempted_job_that_slurm_runs_again_has_not_ended(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor was told to end, and wrote that down. An administrator may queue again what asks not to be."""
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    files.write_json(tmp_path / "job" / "result.json", CANCELLED)
    cluster.has_all("PENDING")
    assert Launcher("slurm").state(HANDLE, tmp_path / "job") == "running"
    cluster.has_all("PREEMPTED")
    launcher = Launcher("slurm")
    assert launcher.state(HANDLE, tmp_path / "job") == "ended"
    outcome = read_outcome(tmp_path / "job", launcher.word(HANDLE))
    assert outcome.transient and str(outcome.reason).startswith("Slurm: preempted")


def test_slurm_is_not_asked_about_a_stopped_job_that_has_its_result(cluster: Cluster, tmp_path: Path) -> None:
    jobs, out = jobs_of(Launcher("slurm")), tmp_path / "job"
    files.write_text(out / "handle", HANDLE)
    files.write_json(out / "result.json", CANCELLED)
    jobs.stop_leftover(out)
    assert not cluster.calls("sacct")
    (out / "result.json").unlink()
    jobs.stop_leftover(out)
    assert wait_for(lambda: cluster.calls("scancel")) == ["scancel 7"]


def test_a_cancellation_that_fails_is_tried_again_while_the_job_runs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.launcher._CANCEL_AGAIN_S", (0.01,) * 5)
    cluster.fails_until("scancel", 2)
    Launcher("slurm").cancel(HANDLE)
    assert len(cluster.calls("scancel")) == 3
    cluster.does("scancel", "exit 1")
    Launcher("slurm").cancel(HANDLE)
    assert len(cluster.calls("scancel")) == 3 + 6  # not for ever
    cluster.has_all("COMPLETED")
    Launcher("slurm").cancel(HANDLE)
    assert len(cluster.calls("scancel")) == 3 + 6 + 1


@pytest.mark.parametrize(("ran_s", "ends"), [(100, True), (40, False), (None, False)])
def test_the_timeout_of_an_adopted_job_counts_from_its_own_start(
    cluster: Cluster, tmp_path: Path, ran_s: int | None, ends: bool
) -> None:
    """Of 60 s, also those in which no controller looked. ``None``: it waits in the queue still."""
    out = tmp_path / "job"
    files.write_text(out / "handle", HANDLE)
    if ran_s is not None:
        files.write_json(out / "job.json", {})
        os.utime(out / "job.json", (time.time() - ran_s,) * 2)
    jobs = jobs_of(Launcher("slurm"))
    jobs.start(Key(trial=0), tmp_path / "candidate.json", out)
    assert not cluster.calls("sbatch")
    assert round(jobs.longest_s, -1) == (ran_s or 0)
    ended = [outcome.reason for _, outcome in jobs.ended()]
    assert ended == (["no result within 60 s (train.timeout_s)"] if ends else [])
    assert {path.name for path in out.iterdir()} <= {"handle", "job.json"}


def test_a_job_that_began_while_nobody_looked_is_as_old_as_it_says(cluster: Cluster, tmp_path: Path) -> None:
    """The controller measured, or waited for its database; the job was in the queue for most of that."""
    (tmp_path / "candidate.json").write_text("{}")
    jobs = Jobs(Launcher("slurm"), parallel=1, timeout_s=0.5, script=None, account=Account())
    out = tmp_path / "job"
    jobs.start(Key(trial=0), tmp_path / "candidate.json", out)
    assert jobs.ended() == []
    time.sleep(0.6)
    files.write_json(out / "job.json", {})
    assert jobs.ended() == []
    os.utime(out / "job.json", (time.time() - 60,) * 2)
    jobs = jobs_of(Launcher("slurm"))
    jobs.start(Key(trial=1), tmp_path / "candidate.json", tmp_path / "1" / "job")
    (out / "job.json").rename(tmp_path / "1" / "job" / "job.json")
    assert jobs.ended() == [] and round(jobs.longest_s, -1) == 60


def test_a_queue_is_no_time_in_which_a_job_ran(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "candidate.json").write_text("{}")
    account = Account()
    jobs = Jobs(Launcher("slurm"), parallel=2, timeout_s=60, script=None, account=account)
    for trial in range(2):
        jobs.start(Key(trial=trial), tmp_path / "candidate.json", tmp_path / str(trial) / "job")
    assert jobs.ended() == [] and account.summary()["jobs_s"] == 0
    files.write_json(tmp_path / "0" / "job" / "job.json", {})
    assert jobs.ended() == []
    time.sleep(0.1)
    jobs.stop(Key(trial=1))  # out of the queue
    now = account.summary()
    assert now["jobs_s"] >= 0.1 and now["jobs_s"] == pytest.approx(now["training_s"])
    jobs.stop(Key(trial=0))
    jobs.cancel_all()
    ran_s = account.summary()["jobs_s"]
    assert ran_s == account.summary()["jobs_s"] > 0.1


def test_a_cancellation_that_failed_is_tried_again_before_the_search_ends(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who tries is a thread, which ends with the process."""
    monkeypatch.setattr("nas.launcher._CANCEL_AGAIN_S", (0.5,))
    (tmp_path / "candidate.json").write_text("{}")
    cluster.fails_until("scancel", 1)
    jobs = jobs_of(Launcher("slurm"))
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    jobs.stop(Key(trial=0))
    jobs.cancel_all()
    assert len(cluster.calls("scancel")) == 2


def test_what_a_search_gives_up_on_a_cluster_runs_on_and_takes_no_room(cluster: Cluster, tmp_path: Path) -> None:
    """The front is then confirmed, and does not wait for it."""
    (tmp_path / "candidate.json").write_text("{}")
    jobs = Jobs(Launcher("slurm"), parallel=1, timeout_s=60, script=None, account=Account())
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    jobs.cancel_all()
    assert jobs.running == [] and jobs.free == 1 and not cluster.calls("scancel")
    jobs.start(Key(trial=0), tmp_path / "candidate.json", tmp_path / "job")
    assert len(jobs.running) == len(cluster.calls("sbatch")) == 1  # adopted
