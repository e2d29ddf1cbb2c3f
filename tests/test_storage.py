"""Trainings whose files pass through a URL: the job as a real process, the storage a folder of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import reason_of, wait_for

from nas import inbox as inboxes
from nas.inbox import Inbox
from nas.launcher import Launcher
from nas.training import component, remote
from nas.training.curves import read_curves
from nas.training.outcome import Word, is_read, read_outcome, read_result
from nas.training.storage import open_storage
from profiles import files
from profiles.errors import InputError, UnavailableError

TICKET = "0123456789abcdef"
GOOD = """
import json, os, sys
from pathlib import Path
from torch.utils.tensorboard import SummaryWriter
candidate, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
with SummaryWriter(out / "tb") as writer:
    writer.add_scalar("val_accuracy", 0.25, 1)
(out / "checkpoint.bin").write_bytes(bytes(100))
(out / "weights.pt").write_bytes(b"weights")
(out / "metrics.json").write_text(json.dumps({"val_accuracy": candidate["seed"]}))
"""
SLOW = """
import sys, time
from pathlib import Path
(Path(sys.argv[2]) / "metrics.json").write_text("{}")
print("far enough", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(inboxes, "ASK_S", 0.0)
    return f"file://{tmp_path}/lab/hwnas"


def send(inbox: Inbox, folder: Path, code: str, ticket: str = TICKET) -> Path:
    """The controller's half of a submission: the job's folder here."""
    (folder / "own.py").write_text(code)
    (folder / "candidate.json").write_text('{"seed": 7}')
    inbox.send(ticket, folder / "candidate.json", folder / "own.py")
    out = folder / "job"
    files.write_text(out / "ticket", ticket)
    return out


def start(place: str) -> subprocess.Popen[str]:
    """As a cluster starts it, in an environment in which only hwnas is found."""
    app = component.train("candidate.json", "job", "own.py", ticket=TICKET, storage=place)
    (role,) = app.roles
    arguments = [argument.replace("${app_id}", "42") for argument in role.args]
    assert arguments == ["-m", "nas.training.remote", place, "script.py", "--app-id", "42"]
    return subprocess.Popen(
        [sys.executable, *arguments], cwd="/", env=os.environ | role.env, stderr=subprocess.PIPE, text=True
    )


def test_a_job_fetches_what_it_needs_and_sends_what_is_read(url: str, tmp_path: Path) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    assert inbox.fetch(out) and read_result(out) is None
    process = start(inbox.place(TICKET))
    assert process.wait(60) == 0
    assert inbox.fetch(out)
    assert read_outcome(out).metrics == {"val_accuracy": 7.0}
    inbox.forget(out)
    assert (out / "weights.pt").read_bytes() == b"weights"
    assert read_curves(out) == {"val_accuracy": [(1, 0.25)]}
    assert json.loads((out / "job.json").read_text())["app_id"] == "42"
    assert not (out / "checkpoint.bin").exists()  # of no use here, and perhaps large
    assert list((tmp_path / "lab" / "hwnas").iterdir()) == []  # all of it is here by now


def test_curves_and_logs_come_while_it_trains_and_it_can_be_asked_to_end(url: str, tmp_path: Path) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, SLOW)
    process = start(inbox.place(TICKET))
    try:
        wait_for(lambda: inbox.fetch(out) and "far enough" in (files.read_text(out / "stderr.log") or ""))
        assert (out / "job.json").exists() and read_result(out) is None and not (out / "metrics.json").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert inbox.fetch(out)
    outcome = read_outcome(out)
    assert outcome.transient and outcome.reason is not None and "SIGTERM" in outcome.reason


def test_a_job_that_is_killed_leaves_no_training_behind(url: str, tmp_path: Path) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, SLOW)
    process = start(inbox.place(TICKET))
    wait_for(lambda: inbox.fetch(out) and (out / "job.json").exists())
    group = json.loads((out / "job.json").read_text())["pgid"]
    process.kill()
    process.wait()
    wait_for(lambda: not Path(f"/proc/{group}").exists() or " Z " in Path(f"/proc/{group}/stat").read_text())


def test_a_job_that_was_given_up_before_it_began_ends_at_once(url: str, tmp_path: Path) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    inbox.forget(out)
    process = start(inbox.place(TICKET))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith(f"{inbox.place(TICKET)}: no job is here, or none any more: its controller has ended it")


def test_a_job_that_is_given_up_while_it_trains_ends_and_leaves_nothing(url: str, tmp_path: Path) -> None:
    """As one whose controller was killed before it wrote down its handle: the next one submits another."""
    inbox = Inbox(url)
    out = send(inbox, tmp_path, SLOW)
    process = start(inbox.place(TICKET))
    wait_for(lambda: inbox.fetch(out) and (out / "job.json").exists())
    inbox.forget(out)
    assert process.wait(60) == 1
    assert list((tmp_path / "lab" / "hwnas").iterdir()) == []


def test_a_result_is_sent_again_until_the_storage_takes_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    monkeypatch.setattr(remote, "_AGAIN_S", (0.0, 0.0))
    refused, put = [OSError("busy"), OSError("busy")], remote.Storage.put

    def flaky(storage: remote.Storage, path: Path, name: str) -> None:
        if name.endswith("weights.pt") and refused:
            raise refused.pop()
        put(storage, path, name)

    monkeypatch.setattr(remote.Storage, "put", flaky)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # of this process
    assert remote.main([inbox.place(TICKET), "script.py"]) == 0
    assert capfd.readouterr().err.count("OSError: busy") >= 1 and not refused
    assert inbox.fetch(out) and read_outcome(out).reason is None


def test_a_storage_that_does_not_answer_is_asked_again_for_some_time(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first silence on, however long ago it last was asked; also by fsspec's file systems themselves."""
    inbox = Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    now = [1000.0]
    monkeypatch.setattr("nas.inbox.time.monotonic", lambda: now[0])
    assert inbox.fetch(out)
    silent = ConnectionError("no route to host")

    def away(*_: object, **__: object) -> None:
        raise silent

    with monkeypatch.context() as while_it_is_away:
        while_it_is_away.setattr(type(inbox._storage.system), "ls", away)
        now[0] += 1e6
        assert not inbox.fetch(out)
        now[0] += 200
        assert not inbox.fetch(out)
        now[0] += 200
        assert reason_of(lambda: inbox.fetch(out)) == f"train.storage {url}: ConnectionError: no route to host"
    assert inbox.fetch(out)


def test_what_is_sent_waits_for_the_storage_too(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "_AGAIN_S", 0.0)
    inbox, silent, put = Inbox(url), [ConnectionError("busy")], remote.Storage.put

    def flaky(storage: remote.Storage, path: Path, name: str) -> None:
        if silent:
            raise silent.pop()
        put(storage, path, name)

    monkeypatch.setattr(remote.Storage, "put", flaky)
    send(inbox, tmp_path, GOOD)
    assert not silent and (tmp_path / "lab" / "hwnas" / TICKET / "candidate.json").exists()


@pytest.mark.parametrize("ticket", ["", ".", "..", "../elsewhere", "0123456789abcde"])
def test_a_damaged_ticket_removes_nothing(url: str, tmp_path: Path, ticket: str) -> None:
    inbox = Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    (out / "ticket").write_text(ticket)
    inbox.forget(out)
    assert (tmp_path / "lab" / "hwnas" / TICKET / "candidate.json").exists()
    with pytest.raises(ValueError, match="no folder to remove"):
        open_storage(url).remove("./")


def test_a_launcher_submits_adopts_and_gives_up_through_the_storage(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is submitted is run here, when the test says so, in place of a cluster."""
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    submitted: list[list[str]] = []

    def launcher() -> Launcher:
        made = Launcher("slurm", storage=url)

        def submit(request: Any, longest_s: float) -> str:
            (replica,) = request.replicas.values()
            submitted.append([replica.entrypoint, *replica.args])
            return f"slurm://hwnas/{len(submitted)}"

        monkeypatch.setattr("devices.slurm.submit", submit)
        monkeypatch.setattr(made._jobs, "word", lambda job: None)
        return made

    (tmp_path / "own.py").write_text(GOOD)
    (tmp_path / "candidate.json").write_text('{"seed": 7}')
    one, out = launcher(), tmp_path / "job"
    one.check()
    handle = one.submit(tmp_path / "candidate.json", out, tmp_path / "own.py")
    assert one.state(handle, out) == "running" and not one.begun(out)
    assert launcher().adopt(out) == handle  # by a later controller, from the queue
    assert subprocess.run([part.replace("$SLURM_JOB_ID", "1") for part in submitted[0]], timeout=60).returncode == 0
    assert one.state(handle, out) == "ended" and one.begun(out)
    assert launcher().adopt(out) == handle

    other = tmp_path / "other"
    one.submit(tmp_path / "candidate.json", other, tmp_path / "own.py")
    (other / "handle").unlink()  # the controller was killed before it wrote that
    assert launcher().adopt(other) is None
    done = subprocess.run(submitted[1], timeout=60, capture_output=True, text=True)
    assert done.returncode == 1 and "no job is here, or none any more" in done.stderr
    assert list((tmp_path / "lab" / "hwnas").iterdir()) == []


def test_a_job_that_ends_between_two_looks_is_looked_at_once_more(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the pause between two looks is beside the one in which a result may be on its way."""
    monkeypatch.setattr(inboxes, "ASK_S", 1e6)
    monkeypatch.setattr("nas.launcher._SETTLE_S", -1.0)
    launcher, inbox = Launcher("slurm", storage=url), Inbox(url)
    out = send(inbox, tmp_path, GOOD)
    assert launcher.state("slurm://hwnas/1", out) == "running"
    assert start(inbox.place(TICKET)).wait(60) == 0
    monkeypatch.setattr(launcher._jobs, "word", lambda job: Word(running=False))
    assert launcher.state("slurm://hwnas/1", out) == "ended"
    assert read_outcome(out).metrics == {"val_accuracy": 7.0}


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("/shared/hwnas", InputError, "accepted: a URL that fsspec knows"),
        ("nosuch://lab/hwnas", InputError, "given 'nosuch://lab/hwnas'; accepted: a URL that fsspec knows"),
        ("memory://lab", InputError, "accepted: a URL that fsspec knows and whose files others can read"),
        ("https://lab/hwnas", InputError, "accepted: a URL that fsspec knows and whose files others can read"),
        (
            "sftp://ann:secret@lab/runs",
            InputError,
            r"given 'sftp://ann:\*\*\*@lab/runs'; accepted: a URL without a pass",
        ),
        ("s3:lab/hwnas", InputError, "accepted: a URL that fsspec knows"),
        ("file://lab/hwnas", InputError, "accepted: a URL that fsspec knows"),
        ("simplecache::sftp://ann:secret@lab/runs", InputError, "accepted: a URL that fsspec knows"),
        ("gs://lab/hwnas", UnavailableError, "train.storage gs://lab/hwnas: .*gcsfs"),
    ],
)
def test_a_url_that_will_not_do(url: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_local_jobs_need_no_storage(url: str) -> None:
    with pytest.raises(InputError, match=r"train\.storage: given .*; accepted: a cluster's scheduler beside it"):
        Launcher(storage=url)


def test_a_storage_that_cannot_be_written_is_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    launcher = Launcher("slurm", storage=f"file://{tmp_path}/file/hwnas")
    assert "train.storage file://" in reason_of(launcher.check)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("result.json", True),
        ("tb/events.out.tfevents.1.host", True),
        ("lightning/version_0/events.out.tfevents.1", True),
        ("checkpoint.bin", False),
        ("tb/result.json", False),
        ("ticket", False),
        ("handle", False),
        ("../events.out.tfevents.1", False),
        ("/etc/events.out.tfevents.1", False),
        ("a/../../events.out.tfevents.1", False),
        ("weights.pt/events.out.tfevents.1", False),
        ("tb/events.out.tfevents." + "1" * 300, False),
        ("", False),
    ],
)
def test_which_files_are_passed_on(name: str, passed: bool) -> None:
    assert is_read(name) is passed


@given(st.lists(st.sampled_from(["..", ".", "", "tb", "events.out.tfevents.1", "result.json"]), max_size=6))
def test_no_name_leads_out_of_a_jobs_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    if is_read(name):
        assert (Path("/runs/job") / name).resolve().is_relative_to("/runs/job")
