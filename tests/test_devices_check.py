"""``hwnas devices check`` and ``add``, as far as they need no other machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import of_agent, wait_for

from benchmarks import devices_add
from benchmarks.devices import _of_file, check
from devices.fleet import load_fleet
from devices.lock import Lock
from profiles.errors import InputError

HERE = '[devices.here]\npython = "{python}"\n'
NULL = '[devices.n]\ntransport = "null"\n'


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _fleet(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text.format(python=sys.executable))
    return path


def _checked(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    check([], path, as_json=True)
    found: dict[str, Any]
    (found,) = json.loads(capsys.readouterr().out)["devices"]
    return found


def test_a_null_device_is_in_good_health(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _fleet(tmp_path, '[devices.n]\ntransport = "null"\ntime_ms = 1.0\n')
    found = _checked(path, capsys)
    assert (found["error"], found["problems"], found["providers"]) == (None, [], ["cpu"])
    assert found["health"]["machine"] == "null"


def test_what_is_tried_out_are_the_targets_of_the_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    null = '[targets.good]\ndevice = "here"\nengine = "null"\n'
    found = _checked(_fleet(tmp_path, HERE + null), capsys)
    assert found["error"] is None
    assert found["noise"] is not None
    assert "onnxruntime" not in found["fingerprint"]["versions"]
    bad = '[targets.bad]\ndevice = "here"\npython = "/no/python"\n'
    path = _fleet(tmp_path, HERE + bad + null)
    with pytest.raises(SystemExit) as ended:
        check([], path, as_json=True)
    assert ended.value.code == 3
    (found,) = json.loads(capsys.readouterr().out)["devices"]
    assert found["error"].startswith("target bad: ")
    assert found["noise"] is not None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["local"]),
        (NULL, ["n"]),
        (NULL + '[targets.t]\ndevice = "n"\n', ["n"]),
        (NULL + '[targets.t]\ndevice = "n"\n[targets.local]\n', ["local", "n"]),
        (NULL + "[targets.here]\nthreads = 2\n", ["local", "n"]),
        (NULL + '[devices.local]\nmeter = "rapl"\n', ["local", "n"]),
        (NULL + '[devices.local]\npython = "/opt/py/bin/python"\n', ["local", "n"]),
    ],
)
def test_this_machine_is_among_all_devices_where_the_file_speaks_of_it(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    assert _of_file(load_fleet(_fleet(tmp_path, text))) == names


def test_one_interrupt_ends_it_while_another_measures(tmp_path: Path, root: Path) -> None:
    path, lock = _fleet(tmp_path, HERE), Lock(tmp_path / "lock", "ann@lab")
    assert lock.try_acquire()
    command = [sys.executable, "-m", "benchmarks.cli", "devices", "check", "--fleet", str(path)]
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=root, stderr=stderr, env=os.environ)
    try:
        wait_for(lambda: "waiting for" in said.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert "Traceback" not in said.read_text()
        assert wait_for(lambda: not of_agent(), 10)
    finally:
        process.kill()
        process.wait()
        lock.release()


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ann@pi5.lab", "pi5"),
        ("10.0.0.7", "10-0-0-7"),
        ("_gateway", "gateway"),
        ("root@::1", "1"),
        ("h" * 70, "h" * 64),
    ],
)
def test_the_name_of_a_host_is_one_that_a_fleet_file_takes(host: str, name: str) -> None:
    assert devices_add._name(host) == name


@pytest.mark.parametrize("name", ["_pi", "p" * 65, "a b"])
def test_a_name_that_no_fleet_file_takes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"^--name: given '{name}'; accepted: up to 64 letters, digits"):
        devices_add.add("pi5", name=name, path=tmp_path / "fleet.toml", python="python3", config=None)


def test_a_file_that_an_entry_cannot_be_added_to_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('devices = {a = {transport = "null"}}\n')
    with pytest.raises(InputError, match=r"fleet\.toml: pi5 cannot be added at its end \(.*\); accepted: a file whose"):
        devices_add.add("pi5", name=None, path=path, python="python3", config=None)
    assert path.read_text() == 'devices = {a = {transport = "null"}}\n'
