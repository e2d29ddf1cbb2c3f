"""The agent with real processes: it always answers, one measurement runs at a time, and nothing of it is left."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import of_agent, wait_for

from devices import bundle, program
from devices.session import Session, connect
from devices.transfer import client
from devices.transports.local import Device
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

CALIBRATION = Path(bundle.__file__).parent / "calibration.onnx"
NULL = Target(name="null", device="local", engine="null", provider="100us")
FOREVER = dataclasses.replace(NULL, provider="9999999ms")
SHORT: dict[str, Any] = {"groups": 1, "max_groups": 1, "block_ms": 1.0, "warm_up_ms": 0.0, "seed": 0}
ARMS = [{"name": "model", "model": str(CALIBRATION)}, {"name": "calibration", "model": None}]

Connect = Callable[..., Session]


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock and an agent file of this test alone, so that tests run side by side and find their own processes."""
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def connected() -> Iterator[Connect]:
    sessions: list[Session] = []

    def make(device: Device | None = None, on_event: Any = None) -> Session:
        sessions.append(connect(device or Device(), "here", on_event))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def _latency(session: Session, target: Target = NULL, **how: Any) -> dict[str, Any]:
    return session.request("latency", target=dataclasses.asdict(target), arms=ARMS, **(SHORT | how))


def _in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_a_connection_that_ends_with_the_last_record_is_one_measurement(tmp_path: Path) -> None:
    """Its span would else go on past the lock, into that of another."""
    request = {"id": 1, "op": "latency", "target": dataclasses.asdict(NULL), "arms": ARMS, **SHORT}
    agent = subprocess.Popen(
        [sys.executable, "-u", bundle.build_agent()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdin is not None and agent.stdout is not None
    agent.stdin.write(json.dumps(request).encode() + b"\n")
    agent.stdin.flush()
    while b'"started"' not in agent.stdout.readline():
        pass
    agent.stdout.close()
    agent.wait(60)
    agent.stdin.close()
    (line,) = (tmp_path / "hwnas" / "measured.jsonl").read_text().splitlines()
    assert json.loads(line)["agent"] == agent.pid


def test_one_agent_answers_many_requests(connected: Connect) -> None:
    session = connected()
    for _ in range(2):
        answer = _latency(session)
        assert [block[1] for block in answer["blocks"]] in (
            ["model", "calibration", "calibration", "model"],
            ["calibration", "model", "model", "calibration"],
        )
        assert all(time_ns >= 100_000 for block in answer["blocks"] for time_ns in block[2])
    assert session.fingerprint(NULL)["versions"]["null"] == "1"
    wait_for(lambda: len(of_agent()) == 1)  # the last worker may still be ending
    session.close()
    assert of_agent() == []
    with pytest.raises(UnavailableError, match="the session is closed"):
        _latency(session)


def test_each_request_has_a_process_of_its_own(connected: Connect) -> None:
    session = connected()
    seen: set[int] = set()

    def another() -> set[int]:
        return set(of_agent("worker")) - seen

    for _ in range(3):
        thread, _found = _in_background(lambda: _latency(session, groups=20, max_groups=20))
        seen |= wait_for(another)
        thread.join()
    assert len(seen) >= 3


def test_errors_keep_their_kind_and_the_agent_goes_on(connected: Connect) -> None:
    session = connected()
    with pytest.raises(InputError, match=r"provider: given 'soon'; accepted: cpu, or a time"):
        _latency(session, dataclasses.replace(NULL, provider="soon"))
    with pytest.raises(InputError, match=r"no engine named 'magic'; there are: .*null"):
        _latency(session, dataclasses.replace(NULL, engine="magic"))
    with pytest.raises(MeasurementError, match="no operation 'dance'"):
        session.request("dance")
    assert _latency(session)["done"]


def test_a_worker_that_is_killed(connected: Connect) -> None:
    session = connected()
    thread, found = _in_background(lambda: _latency(session, FOREVER))
    os.kill(wait_for(lambda: of_agent("worker"))[0], signal.SIGSEGV)
    thread.join()
    assert isinstance(found[0], MeasurementError)
    assert str(found[0]).startswith("the process of latency was killed by SIGSEGV")
    assert _latency(session)["done"]


def test_a_worker_that_hangs(connected: Connect) -> None:
    session = connected()
    with pytest.raises(MeasurementError, match=r"latency did not end within 0\.5 s and was killed"):
        _latency(session, FOREVER, deadline_s=0.5)
    assert of_agent("worker") == []
    assert _latency(session)["done"]


HOST = f"""
from devices.session import connect
from devices.transports.local import Device
connect(Device(), "here").request("latency", target={dataclasses.asdict(FOREVER)!r}, arms={ARMS!r}, **{SHORT!r})
"""


@pytest.mark.parametrize("victim", ["host", "agent", "host of a stopped agent"])
def test_two_seconds_after_a_kill_nothing_is_left(victim: str) -> None:
    root = Path(bundle.__file__).parent.parent
    host = subprocess.Popen([sys.executable, "-c", HOST], cwd=root, stderr=subprocess.DEVNULL)
    try:
        worker = wait_for(lambda: of_agent("worker"))
        (agent,) = set(of_agent()) - set(worker)
        if victim == "host of a stopped agent":
            for pid in (agent, *worker):
                os.kill(pid, signal.SIGSTOP)
        os.kill(agent if victim == "agent" else host.pid, signal.SIGKILL)
        wait_for(lambda: not of_agent(), timeout_s=2.0)
        assert host.wait(5) != 0
    finally:
        host.kill()
        host.wait()


def test_closing_ends_a_measurement_that_runs(connected: Connect) -> None:
    session = connected()
    thread, found = _in_background(lambda: _latency(session, FOREVER))
    wait_for(lambda: of_agent("worker"))
    os.kill((set(of_agent()) - set(of_agent("worker"))).pop(), signal.SIGTERM)
    thread.join()
    assert isinstance(found[0], UnavailableError)
    assert "device here: the connection ended" in str(found[0])
    assert session.closed
    wait_for(lambda: not of_agent(), timeout_s=2.0)


def test_a_second_measurement_waits_and_says_for_whom(connected: Connect) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    first, second = connected(), connected(on_event=lambda kind, data: events.append((kind, data)))
    apart_s = time.monotonic() - second.clock_s()
    holding, _ = _in_background(lambda: _latency(first, FOREVER, deadline_s=3.0))
    holder = (set(of_agent()) - set(of_agent("worker"))) if wait_for(lambda: of_agent("worker")) else set()
    waiting, found = _in_background(lambda: _latency(second, deadline_s=2.5))
    wait_for(lambda: events)
    kind, data = events[0]
    assert (kind, data["device"]) == ("waiting", "here")
    messages = [f"waiting for process {pid} on this machine for {client()}, since 20" for pid in holder]
    assert any(data["message"].startswith(message) for message in messages)
    assert found == []
    holding.join()
    waiting.join()
    assert found[0]["done"]  # its deadline began when its turn came
    assert [kind for kind, _ in events] == ["waiting", "started"]
    assert time.monotonic() - second.clock_s() - apart_s > 0.5  # no budget runs meanwhile


def test_an_interpreter_that_is_missing_once_the_device_is_free(connected: Connect) -> None:
    first, second = connected(), connected()
    holding, _ = _in_background(lambda: _latency(first, FOREVER, deadline_s=1.0))
    wait_for(lambda: of_agent("worker"))
    with pytest.raises(UnavailableError, match="the worker cannot be started"):
        _latency(second, dataclasses.replace(NULL, python="/no/python"))
    holding.join()
    assert _latency(second)["done"]


def test_fp32_is_computed_as_fp32_on_gpus_too() -> None:
    _, environment = program.of("worker", {})
    assert environment["NVIDIA_TF32_OVERRIDE"] == "0"


def test_the_lock_dies_with_its_holder(connected: Connect) -> None:
    first, second = connected(), connected()
    (agent,) = set(of_agent()) - {_agent_of(second)}
    holding, _ = _in_background(lambda: _latency(first, FOREVER))
    wait_for(lambda: of_agent("worker"))
    waiting, found = _in_background(lambda: _latency(second))
    os.kill(agent, signal.SIGKILL)
    waiting.join(20)
    holding.join()
    assert found[0]["done"]


def _agent_of(session: Session) -> int:
    return int(session.request("hello")["pid"])


NOISY = """
import os, sys
from devices.engines import null

versions = null.versions
print("imported")

def load(*arguments, **named):
    print("loading")
    os.write(1, b'{"id":1,"done":true,"blocks":[]}\\n')
    os.system("echo from a child")
    print("a warning", file=sys.stderr)
    if os.environ.get("HWNAS_TEST_FAULT") == "exit":
        os._exit(3)
    if os.environ.get("HWNAS_TEST_FAULT") == "raise":
        raise RuntimeError("two\\nlines")
    return null.load(*arguments, **named)

engine = sys.modules[__name__]
"""


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return dataclasses.replace(NULL, engine="noisy:engine")


def test_a_library_that_prints_does_not_reach_the_protocol(connected: Connect, noisy: Target) -> None:
    assert len(_latency(connected(), noisy)["blocks"]) == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("exit", "the process of latency ended with status 3 and no answer; its last lines: .*a warning"),
        ("raise", "RuntimeError: two lines$"),
    ],
)
def test_a_library_that_fails(
    connected: Connect, noisy: Target, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("HWNAS_TEST_FAULT", fault)
    with pytest.raises(MeasurementError, match=message):
        _latency(connected(), noisy)


def test_a_shell_that_prints_before_the_agent(connected: Connect, tmp_path: Path) -> None:
    shell = tmp_path / "python"
    shell.write_text(f'#!/bin/sh\necho "Welcome"\nprintf "half a line"\nexec {sys.executable} "$@"\n')
    shell.chmod(0o755)
    assert _latency(connected(Device(python=str(shell))))["done"]


AGENT = """
import json, os, signal, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "hello":
        print(json.dumps({"id": request["id"], "done": True}), flush=True)
        continue
    print(json.dumps({"id": request["id"], "event": "started"}), flush=True)
    FAULT
"""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("while True: os.write(1, b'rubbish' * 1000)", "device here: no answer"),
        ("while True: os.write(1, b'{} [] null ' + bytes(range(256)))", "device here: no answer"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "device here: no answer"),
        ("os.abort()", "device here: the connection ended"),
        ("print(json.dumps({'id': request['id'], 'error': 'just a text'}), flush=True)", "'just a text'"),
        ("print(json.dumps({'id': request['id'], 'error': {'kind': 'os'}}), flush=True)", "no reason given"),
    ],
)
def test_an_agent_that_dies_hangs_or_prints_rubbish(
    connected: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    """An error in the time that was given to it, and the memory of the host stays as it is."""
    monkeypatch.setattr("devices.session._GRACE_S", 1.0)
    (tmp_path / "agent.py").write_text(AGENT.replace("FAULT", fault))
    shell = tmp_path / "python"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} -u "{tmp_path}/agent.py"\n')
    shell.chmod(0o755)
    session = connected(Device(python=str(shell)))
    with pytest.raises((UnavailableError, MeasurementError), match=message):
        _latency(session, deadline_s=0.5)
    assert len(session._lines._rest) < 1 << 17
    assert not session.closed or session._process.poll() is not None


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("echo no such thing >&2; exit 1", "device here: the connection ended: no such thing"),
        ("exit 0", "device here: the connection ended"),
    ],
)
def test_a_device_without_an_agent(connected: Connect, tmp_path: Path, program: str, message: str) -> None:
    shell = tmp_path / "python"
    shell.write_text(f"#!/bin/sh\n{program}\n")
    shell.chmod(0o755)
    with pytest.raises(UnavailableError, match=message):
        connected(Device(python=str(shell)))


def test_a_python_that_is_not_there(connected: Connect) -> None:
    with pytest.raises(UnavailableError, match=r"device here: the agent cannot be started: .*No such file"):
        connected(Device(python="/no/python"))
