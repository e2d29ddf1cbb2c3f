"""A device without Python: the real adb client, a fake adbd, and the real runner on this machine's ONNX Runtime."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import debian
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from processes import reason_of, wait_for

import devices
from devices import measure
from devices.plan import Job
from devices.runner.link import VERSION
from devices.session import Session, connect
from devices.transports.adb import Device
from devices.transports.local import Device as Local
from profiles.errors import HwnasError, UnavailableError
from profiles.records import Target

pytestmark = pytest.mark.systems

_reason = partial(reason_of, kind=HwnasError)
HERE = Path(__file__).parent
PACKAGE = Path(str(devices.__file__)).parent
MODEL = PACKAGE / "calibration.onnx"
TARGET = Target(name="phone", device="phone")
SHORT: dict[str, Any] = {"groups": 1, "max_groups": 1, "block_ms": 1.0, "warm_up_ms": 0.0, "seed": 0}
ARMS = [{"name": "calibration", "model": None}]
FOREVER = {"groups": 10**6, "max_groups": 10**4}


@dataclass
class Phone:
    """``device``: as of a fleet file. The adb server and the adbd are this test's own."""

    device: Device
    folder: Path
    port: int
    environment: dict[str, str]
    adbd: subprocess.Popen[bytes] | None = None

    def plug_in(self) -> None:
        self.adbd = subprocess.Popen(
            [sys.executable, str(HERE / "adbd.py"), str(self.port)],
            env=os.environ | {"HWNAS_LOCK": str(self.folder / "lock")},
        )
        serial = str(self.device.serial)
        self.adb("disconnect", serial)  # or it goes on looking for the old one, seldom
        wait_for(lambda: "connected to" in self.adb("connect", serial) and "\tdevice" in self.adb("devices"))

    def unplug(self) -> None:
        if self.adbd:
            self.adbd.kill()
            self.adbd.wait()
            self.adbd = None

    def adb(self, *words: str) -> str:
        done = subprocess.run(["adb", *words], capture_output=True, text=True, env=self.environment, check=False)
        return done.stdout

    def runners(self) -> list[int]:
        """Processes of the runner, passes included."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if f"{self.folder}/there/bin/" in path.read_bytes().decode().partition("\0")[0]:
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    if reason := debian.lacking(("adb", "cc"), ("adb", "gcc", "libc6-dev")):
        pytest.skip(reason)
    library = next(Path(str(onnxruntime.__file__)).parent.glob("capi/libonnxruntime.so.*"), None)
    if library is None:
        pytest.skip("this onnxruntime has no library of its own")
    folder = tmp_path_factory.mktemp("phone")
    runner = folder / "hwnas-runner"
    source = PACKAGE / "runner" / "runner.c"
    strict = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["cc", *strict, "-o", str(runner), str(source), "-ldl", "-lpthread"], check=True)
    port, server = _free_port(), f"tcp:localhost:{_free_port()}"
    device = Device(serial=f"127.0.0.1:{port}", runner=runner, library=library, folder=str(folder / "there"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADB_SERVER_SOCKET", server)
        patch.setenv("HOME", str(folder))  # where adb keeps its key
        found = Phone(device, folder, port, dict(os.environ))
        try:
            found.plug_in()
            yield found
        finally:
            found.unplug()
            found.adb("kill-server")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _latency(session: Session, **how: Any) -> dict[str, Any]:
    return session.request("latency", target=dataclasses.asdict(TARGET), arms=ARMS, **(SHORT | how))


def test_a_profile_comes_out_of_the_command(phone: Phone, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    keys = "".join(f'{key} = "{value}"\n' for key, value in phone.device.model_dump(exclude_defaults=True).items())
    fleet.write_text(f'[devices.phone]\ntransport = "adb"\n{keys}[targets.phone]\ndevice = "phone"\n')
    command = [sys.executable, "-m", "benchmarks.cli", "profile", str(MODEL), "--target", "phone"]
    command += ["--fleet", str(fleet), "--within", "20%", "--operators", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    (profile,) = json.loads(done.stdout)["profiles"]
    assert 0 < profile["latency_ms"]["p10"] <= profile["latency_ms"]["p50"]
    assert profile["output_error"] < 1e-5
    assert list(profile["node_providers"]) == ["cpu"]
    assert profile["peak_memory_mb"] > 0
    assert len(profile["operators"]) == sum(profile["node_providers"].values())
    assert profile["device"]["versions"] == {"onnxruntime": onnxruntime.__version__, "runner": str(VERSION)}
    assert profile["energy_mj"] is None
    assert wait_for(lambda: not phone.runners(), 5.0) is True


@pytest.mark.parametrize("batch", [1, 4])
def test_outputs_are_those_of_onnxruntime_in_python(phone: Phone, tmp_path: Path, batch: int) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((6, 3, 80, 80)).astype(np.float32))
    target = dataclasses.replace(TARGET, batch=batch)
    found = {}
    for name, device in (("here", Local()), ("there", phone.device)):
        with connect(device, name) as session:
            measure.compute_outputs(session, MODEL, target, tmp_path / "x.npy", tmp_path / f"{name}.npy")
        found[name] = np.load(tmp_path / f"{name}.npy")
    assert found["there"].shape == (6, 10)
    assert np.max(np.abs(found["there"] - found["here"])) <= 1e-5


def test_each_pass_says_what_an_agent_says(phone: Phone) -> None:
    request = {"target": dataclasses.asdict(TARGET), "model": str(MODEL), "seed": 0}
    answers: dict[str, dict[str, Any]] = {}
    for name, device in (("here", Local()), ("there", phone.device)):
        with connect(device, name) as session:
            answers[name] = {
                "latency": _latency(session, groups=2, max_groups=2, interval_ms=1.0),
                "memory": session.request("memory", **request),
                "parity": session.request("parity", **request),
                "fingerprint": session.request("fingerprint", target=request["target"]),
                "health": session.request("health")["health"],
            }
    here, there = answers["here"], answers["there"]
    for kind in here:
        assert there[kind].keys() == here[kind].keys(), kind
    assert [block[:2] for block in there["latency"]["blocks"]] == [block[:2] for block in here["latency"]["blocks"]]
    assert all(len(block) == len(here["latency"]["blocks"][0]) for block in there["latency"]["blocks"])
    assert there["memory"]["peak_memory_mb"] == pytest.approx(here["memory"]["peak_memory_mb"], abs=3.0)
    assert there["parity"]["node_providers"] == here["parity"]["node_providers"]
    of_phone, of_host = there["fingerprint"]["device"], here["fingerprint"]["device"]
    del of_phone["versions"], of_host["versions"]
    assert of_phone == of_host


def test_inputs_do_not_hide_the_memory_that_loading_takes(phone: Phone, tmp_path: Path) -> None:
    """60 MB of weights, of which a copy is made while loading; 20 MB of inputs, which are there while running."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5_000_000])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    rows = numpy_helper.from_array(np.ones((5_000_000, 3), np.float32), "rows")
    nodes = [
        helper.make_node("ArgMax", ["x"], ["largest"], axis=1, keepdims=0),
        helper.make_node("Gather", ["rows", "largest"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [rows])
    path = tmp_path / "large.onnx"  # the phone keeps it
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    found = []
    for name, device in (("here", Local()), ("there", phone.device)):
        with connect(device, name) as session:
            answer = session.request("memory", target=TARGET.to_dict(), model=str(path), shapes={}, inputs=None, seed=0)
            found.append(answer["peak_memory_mb"])
    here, there = found
    assert here > 60
    assert there == pytest.approx(here, rel=0.1)


def test_each_arm_has_the_batch_of_its_own_target(phone: Phone) -> None:
    targets = [dataclasses.asdict(dataclasses.replace(TARGET, batch=batch)) for batch in (5, 7)]
    arms = [{"name": str(number), "model": str(MODEL), "target": each} for number, each in enumerate(targets)]
    with connect(phone.device, "phone") as session:
        session.request("latency", target=targets[0], arms=arms, **SHORT)
    pushed = {np.load(path).shape[0] for path in (phone.folder / "there" / "files").glob("*/0.npy")}
    assert {5, 7} <= pushed


def test_what_an_open_session_uses_stays_young(phone: Phone, tmp_path: Path) -> None:
    """Whoever connects removes what was not used for a day."""
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes() + b"\x4a\x00")  # an empty field more: another file
    request = {"target": dataclasses.asdict(TARGET), "model": str(tmp_path / "m.onnx"), "seed": 0}

    def kept() -> list[Path]:
        return [path.parent for path in (phone.folder / "there" / "files").glob("*/m.onnx")]

    with connect(phone.device, "phone") as session:
        session.request("memory", **request)
        (place,) = kept()
        os.utime(place, (time.time() - 200_000,) * 2)
        session.request("memory", **request)
        with connect(phone.device, "phone"):
            assert kept() == [place]
        os.utime(place, (time.time() - 200_000,) * 2)
        with connect(phone.device, "phone"):
            assert kept() == []
        session.request("memory", **request)  # brought again


def test_an_abort_in_mid_pass_leaves_no_files_here(
    phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with connect(phone.device, "phone") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(_reason(lambda: _latency(session, **FOREVER))))
        thread.start()
        wait_for(lambda: len(phone.runners()) == 2)
        assert list(tmp_path.glob("hwnas-*"))
        session.abort()
        thread.join(20)
    assert found[0].startswith("device phone: the connection ended")
    assert not list(tmp_path.glob("hwnas-*"))


def test_what_the_runner_cannot_do_it_says(phone: Phone, tmp_path: Path) -> None:
    with connect(phone.device, "phone") as session:
        common = {"model": str(MODEL), "seed": 0}
        assert "not measured over adb: the runner reads no meter" in _reason(
            lambda: session.request("energy", target=dataclasses.asdict(TARGET), **common)
        )
        torch = dataclasses.asdict(dataclasses.replace(TARGET, engine="torch"))
        assert "engine torch does not run over adb; accepted: onnxruntime" in _reason(
            lambda: session.request("memory", target=torch, **common)
        )
        qnn = dataclasses.asdict(dataclasses.replace(TARGET, provider="qnn"))
        assert "provider qnn is not in this ONNX Runtime" in _reason(
            lambda: session.request("parity", target=qnn, **common)
        )
        python = dataclasses.asdict(dataclasses.replace(TARGET, python="/venv/bin/python"))
        assert "python: given '/venv/bin/python'; a phone has no Python; the runtime there is" in _reason(
            lambda: session.request("fingerprint", target=python)
        )
        assert "not measured over adb: the runner times two models in one process" in _reason(
            lambda: session.request("rivals", target=dataclasses.asdict(TARGET), arms=ARMS)
        )
        (tmp_path / "bad.onnx").write_bytes(MODEL.read_bytes()[:5000])
        with pytest.raises(HwnasError, match="not an ONNX file, or cut short"):
            measure.check(session, Job(model=tmp_path / "bad.onnx", name="bad"), TARGET)
        assert "did not end in time and was killed" in _reason(lambda: _latency(session, deadline_s=1.0, **FOREVER))
        assert _latency(session)["done"]  # none of this ended the session


@pytest.mark.parametrize("victim", ["cable", "runner", "bridge"])
def test_a_transport_that_dies_while_it_measures(phone: Phone, victim: str) -> None:
    with connect(phone.device, "phone") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(_reason(lambda: _latency(session, **FOREVER))))
        thread.start()
        wait_for(lambda: len(phone.runners()) == 2)  # the runner and its pass
        if victim == "cable":
            phone.unplug()
        else:
            os.kill(min(phone.runners()) if victim == "runner" else session.process_id, signal.SIGKILL)
        thread.join(20)
        assert session.closed
        assert found[0].startswith("device phone: the connection ended")
        assert wait_for(lambda: not phone.runners(), 5.0) is True
    if victim == "cable":
        with pytest.raises(UnavailableError, match="device phone: "):
            connect(phone.device, "phone")
        phone.plug_in()
    with connect(phone.device, "phone") as session:
        assert _latency(session)["done"]


def test_a_pass_that_is_killed_is_a_reason_and_the_session_goes_on(phone: Phone) -> None:
    with connect(phone.device, "phone") as session:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(_reason(lambda: _latency(session, **FOREVER))))
        thread.start()
        os.kill(max(wait_for(lambda: pair if len(pair := phone.runners()) == 2 else None)), signal.SIGKILL)
        thread.join(20)
        assert found == ["the process of the pass was killed by signal 9 (as the kernel does when memory runs out)"]
        assert _latency(session)["done"]


def test_two_clients_never_measure_at_once(phone: Phone) -> None:
    log = phone.folder / "there" / "measured.jsonl"
    log.unlink(missing_ok=True)
    waited: list[str] = []

    def hear(kind: str, data: dict[str, Any]) -> None:
        if kind == "waiting":
            waited.append(data["message"])

    def client() -> None:
        with connect(phone.device, "phone", hear) as session:
            for _ in range(3):
                _latency(session, block_ms=50.0)

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = sorted((span["start_s"], span["end_s"]) for span in map(json.loads, log.read_text().splitlines()))
    assert len(spans) == 6
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert any("on this machine for " in message and ", since 20" in message for message in waited)


def test_what_is_missing_is_one_line(phone: Phone, tmp_path: Path) -> None:
    for change, message in (
        ({"serial": "nothing"}, "adb does not find it: see adb devices -l"),
        ({"adb": "/no/adb"}, "there is no /no/adb; Debian has it as adb"),
        ({"runner": "/no/runner"}, "/no/runner: there is no such file; how to make it: docs/fleet.md"),
        ({"library": str(MODEL)}, "ONNX Runtime cannot be loaded: "),
    ):

        def ask(change: dict[str, str] = change) -> None:
            with connect(phone.device.model_copy(update=change), "phone") as session:
                session.fingerprint(TARGET)

        assert message in _reason(ask)
    foreign = tmp_path / "runner-of-s390x"
    foreign.write_bytes(b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(200))
    foreign.chmod(0o755)
    device = phone.device.model_copy(update={"runner": str(foreign)})
    assert f"{foreign} is a program for another kind of processor" in _reason(lambda: connect(device, "phone"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a tmpfs")
def test_a_full_disk(phone: Phone, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(small)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.decode().strip()}")
    try:
        request = {"target": dataclasses.asdict(TARGET), "model": str(MODEL), "seed": 0}
        with connect(phone.device.model_copy(update={"folder": str(small)}), "phone") as session:
            (small / "ballast").write_bytes(bytes(20_000_000))
            shapes = {"input": [2000, 3, 80, 80]}
            message = _reason(lambda: session.request("memory", shapes=shapes, **request))
            assert "the disk of the device is full: no room for" in message
            assert _latency(session)["done"]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
