"""The torchx transport with TorchX's own local scheduler: the agent is a job, and speaks through a folder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pydantic
import pytest
from processes import reason_of, wait_for

import devices
from devices import mailbox, measure
from devices.plan import Job, Plan
from devices.session import Session, connect
from devices.transports.torchx import Device
from profiles.records import Target

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
NULL = Target(name="node", device="node", engine="null", provider="100us")
FOREVER = dataclasses.replace(NULL, provider="9999999ms")
SHORT: dict[str, Any] = {"groups": 1, "max_groups": 1, "block_ms": 1.0, "warm_up_ms": 0.0, "seed": 0}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    return Device(scheduler="local_cwd", folder=tmp_path / "shared", python=sys.executable)


def _latency(session: Session, target: Target = NULL) -> dict[str, Any]:
    arms = [{"name": "calibration", "model": None}]
    return session.request("latency", target=dataclasses.asdict(target), arms=arms, **SHORT)


def _processes(node: Device) -> list[int]:
    """Of the job: mailbox, agent, worker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(node.folder) in " ".join(words) and "devices.transports.torchx" not in words:
            found.append(int(path.parent.name))
    return sorted(found)


def test_a_model_is_measured_in_a_job(node: Device) -> None:
    target = Target(name="node", device="node")
    plan = Plan(processes=2, groups=1, block_ms=5.0)
    told: list[str] = []
    with connect(node, "node", lambda kind, data: told.append(f"{kind} {data.get('message')}")) as session:
        profile = measure.profile(session, Job(model=MODEL, name="calibration"), target, plan=plan)
    assert list(profile.node_providers) == ["cpu"]
    assert profile.output_error is not None
    assert profile.output_error < 1e-4
    # Nothing is left but what is kept to be used again.
    assert wait_for(lambda: not _processes(node), 5.0) is True
    assert sorted(path.name for path in node.folder.iterdir()) == ["agents", "nodes", "sessions"]
    assert wait_for(lambda: not list((node.folder / "sessions").iterdir()), 5.0) is True


def test_a_job_that_never_starts(node: Device) -> None:
    device = node.model_copy(update={"python": "/no/python"})
    assert "device node: the connection ended: " in (said := reason_of(lambda: connect(device, "node")))
    assert "/no/python" in said or "has ended" in said
    assert "scheduler: given 'pigeon'; accepted: " in reason_of(
        lambda: connect(node.model_copy(update={"scheduler": "pigeon"}), "node")
    )
    wrong = node.model_copy(update={"options": {"log_dir": 3}})
    assert "local_cwd did not take the job: " in reason_of(lambda: connect(wrong, "node"))
    assert not list((node.folder / "sessions").iterdir())
    (node.folder.parent / "file").write_text("")
    assert "cannot be written: " in reason_of(
        lambda: connect(node.model_copy(update={"folder": node.folder.parent / "file"}), "node")
    )


@pytest.mark.parametrize("victim", ["agent", "job"])
def test_a_job_that_dies_while_it_measures(node: Device, victim: str) -> None:
    with connect(node, "node") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(reason_of(lambda: _latency(session, FOREVER))))
        thread.start()
        job, agent, _ = wait_for(lambda: three if len(three := _processes(node)) == 3 else None)
        if victim == "job":
            os.kill(job, signal.SIGTERM)  # as a scheduler does that cancels it
        else:
            os.kill(agent, signal.SIGKILL)
        thread.join(20)
        why = {"job": "the job was told to end", "agent": "the agent ended with status -9"}[victim]
        assert found[0].startswith(f"device node: the connection ended: {why}")
        assert wait_for(lambda: not _processes(node), 5.0) is True


def test_an_aborted_session_ends_its_job(node: Device) -> None:
    with connect(node, "node") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(reason_of(lambda: _latency(session, FOREVER))))
        thread.start()
        wait_for(lambda: len(_processes(node)) == 3)
        session.abort()
        thread.join(20)
    assert found[0].startswith("device node: the connection ended")
    assert not list((node.folder / "sessions").iterdir())
    assert wait_for(lambda: not _processes(node), 5.0) is True


@pytest.mark.systems
def test_a_host_that_dies_leaves_no_job(node: Device) -> None:
    """Nothing tells the node: the signs of life stay away."""
    session = connect(node, "node")
    assert _latency(session)["done"]
    os.kill(session.process_id, signal.SIGKILL)
    assert _processes(node)
    assert wait_for(lambda: not _processes(node), 45.0) is True
    session.close()


def test_a_sign_of_life_does_not_hide_the_request_that_came_with_it() -> None:
    beat, request = b'{"id":0,"op":"beat"}\n', b'{"id":1,"op":"latency"}\n'
    assert [mailbox.asks(data) for data in (beat, beat + beat, request, beat + request, request + beat)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_mailbox_keeps_order_and_ends_last(tmp_path: Path) -> None:
    sender, receiver = mailbox.Sender(str(tmp_path)), mailbox.Receiver(str(tmp_path))
    assert receiver.receive() == b""
    for number in range(12):
        sender.send(b"%d," % number)
    sender.end("that was all")
    assert receiver.receive() == b"".join(b"%d," % number for number in range(12))
    assert receiver.end is None
    assert receiver.receive() == b""
    assert receiver.end == "that was all"
    assert [path.name for path in tmp_path.iterdir()] == ["end"]


def test_several_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    failed: list[OSError] = []

    def write() -> None:
        try:
            for _ in range(20):
                mailbox.write(str(path), b"the same")
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [each.name for each in tmp_path.iterdir()] == ["agent"]


def test_a_folder_that_is_not_the_same_everywhere_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="an absolute path, the same here and on the node"):
        Device(scheduler="slurm", folder=Path("shared"))
