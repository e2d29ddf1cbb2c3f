"""The ssh transport against real sshd: what goes wrong is one clear line, and nothing stays behind."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import Board
from processes import reason_of, wait_for

import devices
from devices import measure
from devices.plan import Job, Plan
from devices.session import Session, connect
from profiles.errors import MeasurementError
from profiles.records import Target

pytestmark = pytest.mark.systems

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
NULL = Target(name="null", device="board", engine="null", provider="100us")
FOREVER = dataclasses.replace(NULL, provider="9999999ms")
SHORT: dict[str, Any] = {"groups": 1, "max_groups": 1, "block_ms": 1.0, "warm_up_ms": 0.0, "seed": 0}
ARMS = [{"name": "calibration", "model": None}]


def _latency(session: Session, target: Target = NULL, **how: Any) -> dict[str, Any]:
    return session.request("latency", target=dataclasses.asdict(target), arms=ARMS, **(SHORT | how))


def test_a_model_is_measured_there_as_it_is_here(lab: list[Board]) -> None:
    target = Target(name="board", device="board")
    plan = Plan(processes=2, groups=1, block_ms=5.0)
    with connect(lab[0].device(), "board") as session:
        profile = measure.profile(session, Job(model=MODEL, name="calibration"), target, plan=plan)
    assert list(profile.node_providers) == ["cpu"]
    assert profile.output_error is not None
    assert profile.output_error < 1e-4
    assert profile.device["cores"] == 1
    assert lab[0].processes("agent-") == []


def test_agent_and_model_are_sent_once(lab: list[Board], tmp_path: Path) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(3_000_000))
    beside = tmp_path / "weights" / "empty.bin"
    beside.parent.mkdir()
    beside.write_bytes(b"")

    def files() -> dict[Path, int]:
        kept = (lab[1].home / ".cache/hwnas").rglob("*")
        return {path: path.stat().st_ino for path in kept if path.is_file() and path.suffix != ".pyc"}

    with connect(lab[1].device(), "board") as session:
        there = session.put(big, [beside])
        assert Path(there).read_bytes() == big.read_bytes()
        assert (Path(there).parent / "weights" / "empty.bin").read_bytes() == b""
        before = files()
        assert session.put(big, [beside]) == there
    with connect(lab[1].device(), "board") as session:
        assert session.put(big, [beside]) == there
    assert files() == before
    agent = next(path for path in before if path.suffix == ".pyz")
    agent.write_bytes(b"damaged")
    with connect(lab[1].device(), "board") as session:
        assert _latency(session)["done"]


def test_outputs_come_back(lab: list[Board], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 1), dtype=np.float32))
    with connect(lab[0].device(), "board") as session:
        measure.compute_outputs(session, MODEL, NULL, tmp_path / "x.npy", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").tolist() == [[1.0]] * 5
    assert list((lab[0].home / ".cache/hwnas/out").iterdir()) == []


def test_a_board_behind_a_jump_host(lab: list[Board], tmp_path: Path) -> None:
    config = tmp_path / "config"
    behind = f"Host behind\n  HostName {lab[0].address}\n  Port 2200\n  ProxyJump board1\n"
    config.write_text(lab[0].config.read_text() + behind)
    with connect(lab[0].device(host="behind", config=str(config)), "board") as session:
        assert _latency(session)["done"]
        assert lab[0].processes("agent-")
    wait_for(lambda: not lab[0].processes("agent-"))


def test_a_host_key_that_is_not_known_or_has_changed(lab: list[Board], tmp_path: Path) -> None:
    config, known = tmp_path / "config", tmp_path / "known"
    config.write_text(lab[0].config.read_text().replace(str(lab[0].config.parent / "known_hosts"), str(known)))
    device = lab[0].device(config=str(config))
    assert f"device board: its host key is not known; to see and accept it: ssh -F {config} board0" in reason_of(
        lambda: connect(device, "board")
    )
    other = (lab[1].state / "host_key.pub").read_text()
    known.write_text(f"[{lab[0].address}]:2200 {other}")
    # "board0" is a name of the configuration alone; that a command of its own is set for logins does not matter.
    config.write_text(config.read_text() + "Match all\n  RemoteCommand tmux\n  LocalForward 2299 localhost:22\n")
    advice = f"ssh-keygen -R '[{lab[0].address}]:2200', then connect once with ssh -F {config} board0"
    assert f"its host key has changed; if you know why: {advice}" in reason_of(lambda: connect(device, "board"))


def test_a_user_or_host_that_is_not_there(lab: list[Board]) -> None:
    assert "device board: it accepts none of your keys: ssh-copy-id nobody@board0" in reason_of(
        lambda: connect(lab[0].device(host="nobody@board0"), "board")
    )
    assert "Could not resolve hostname nowhere.invalid" in reason_of(
        lambda: connect(lab[0].device(host="nowhere.invalid"), "board")
    )


def test_no_python_no_numpy_and_a_foreign_program(lab: list[Board], tmp_path: Path) -> None:
    assert "there is no /no/python; give its path as python, or: hwnas devices add board0" in reason_of(
        lambda: connect(lab[0].device(python="/no/python"), "board")
    )
    foreign = tmp_path / "python-of-s390x"
    foreign.write_bytes(b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(200))
    foreign.chmod(0o755)
    assert "is a program for another kind of processor" in reason_of(
        lambda: connect(lab[0].device(python=str(foreign)), "board")
    )
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with connect(lab[0].device(python=str(bare / "bin/python")), "board") as session:
        assert "has no numpy; there: " in reason_of(lambda: _latency(session))


def test_a_full_disk(lab: list[Board], tmp_path: Path) -> None:
    small = lab[2].state / "small"
    small.mkdir()
    size = _agent_size(lab[2]) + 40_000
    lab[2].run_inside("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(small))
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(2_000_000))
    with connect(lab[2].device(folder=str(small)), "board") as session:
        assert "the disk of the device is full: no room for" in reason_of(lambda: session.put(big))
        assert _latency(session)["done"]
        fits = tmp_path / "fits.bin"
        fits.write_bytes(os.urandom(20_000))
        assert session.put(fits)
    assert not list(small.glob("files/*.part-*"))
    lab[2].run_inside("mount", "-t", "tmpfs", "-o", "size=8192", "none", str(small))
    assert "cannot be written: No space left on device" in reason_of(
        lambda: connect(lab[2].device(folder=f"{small}/x"), "board")
    )


def test_a_model_that_is_larger_than_the_memory(lab: list[Board]) -> None:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lab[0].little_memory(300))
        except OSError as error:
            pytest.skip(f"the memory of a group cannot be limited here: {error}")
        session = stack.enter_context(connect(lab[0].device(), "board"))
        target = dataclasses.asdict(Target(name="board", device="board"))
        model, shapes = session.put(MODEL), {"input": [20_000, 3, 80, 80]}
        with pytest.raises(MeasurementError) as caught:
            session.request("memory", target=target, model=model, shapes=shapes, seed=0)
        message = "the process of memory was killed by SIGKILL (as the kernel does when memory runs out)"
        assert str(caught.value) == message
        assert _latency(session)["done"]


def test_a_shell_that_prints(lab: list[Board]) -> None:
    (lab[3].home / ".bashrc").write_text('echo "Welcome to board 3"; printf "no newline"; echo oops >&2\n')
    try:
        with connect(lab[3].device(), "board") as session:
            assert _latency(session)["done"]
    finally:
        (lab[3].home / ".bashrc").unlink()


@pytest.mark.parametrize("victim", ["sshd-session", "client", "agent", "board"])
def test_a_connection_that_is_cut_while_it_measures(lab: list[Board], victim: str) -> None:
    board = lab[1]
    with connect(board.device(), "board") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(reason_of(lambda: _latency(session, FOREVER))))
        thread.start()
        (agent, *_), worker = wait_for(lambda: board.processes("-u /")), wait_for(lambda: board.processes(" worker "))
        if victim == "board":
            board.power_cut()
        else:
            client = session.process_id
            sessions = board.processes("sshd: root@notty")
            os.kill({"sshd-session": sessions[0], "client": client, "agent": agent}[victim], signal.SIGKILL)
        wait_for(lambda: not board.processes("agent-"), 3.0)
        assert worker
        if victim == "board":
            board.boot()
            board.wait_until_up()
        thread.join(45)
        assert found
        assert found[0].startswith("device board: the connection ended")
    with connect(board.device(), "board") as session:
        assert _latency(session)["done"]


def test_a_link_that_is_down(lab: list[Board]) -> None:
    """Both ends notice by themselves: the host within ssh's own limit, the board when signs of life stay away."""
    board = lab[2]
    with connect(board.device(), "board") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(reason_of(lambda: _latency(session, FOREVER))))
        thread.start()
        wait_for(lambda: board.processes(" worker "))
        board.link(up=False)
        try:
            thread.join(45)
            assert found == ["device board: the connection ended: the link is down, or the device is off"]
            wait_for(lambda: not board.processes("agent-"), 45.0)
        finally:
            board.link(up=True)
    board.wait_until_up()
    with connect(board.device(), "board") as session:
        assert _latency(session)["done"]


def test_eight_clients_never_measure_at_once(lab: list[Board]) -> None:
    board, waited, wrong = lab[3], [], []
    log = board.home / ".cache/hwnas/measured.jsonl"
    log.unlink(missing_ok=True)

    def client() -> None:
        try:
            with connect(board.device(), "board", lambda kind, data: waited.append((kind, data))) as session:
                for _ in range(3):
                    _latency(session, block_ms=20.0)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    spans = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(spans) == 24
    assert len({span["agent"] for span in spans}) == 8
    spans.sort(key=lambda span: span["start_s"])
    assert all(before["end_s"] <= after["start_s"] for before, after in itertools.pairwise(spans))
    messages = [data["message"] for kind, data in waited if kind == "waiting"]
    assert any("on this machine for " in message and ", since 20" in message for message in messages)


def _agent_size(board: Board) -> int:
    from devices.bundle import build_agent

    return build_agent().stat().st_size
