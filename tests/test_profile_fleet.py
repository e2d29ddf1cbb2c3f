"""``hwnas profile --target all``: every device at once, one record each, and what is said meanwhile."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import devices
from devices.fleet import load_fleet
from profiles.store import Store

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
FAST = '[devices.fast]\ntransport = "null"\ntime_ms = 1.0\n[targets.fast]\ndevice = "fast"\nengine = "null"\n'
SLOW = '[devices.slow]\ntransport = "null"\ntime_ms = 40.0\n[targets.slow]\ndevice = "slow"\nengine = "null"\n'
POOL = "".join(f'[devices.p{n}]\ntransport = "null"\ntime_ms = 1.0\npool = "pool"\n' for n in (1, 2)) + (
    '[targets.pool]\ndevice = "pool"\nengine = "null"\nboards = "worst"\n'
)
ONE = '[devices.p1]\ntransport = "null"\ntime_ms = 1.0\npool = "pool"\nmeter = "rapl"\n' + (
    '[targets.pool]\ndevice = "pool"\nengine = "null"\n'
)
GONE = '[devices.gone]\ntransport = "local"\npython = "/no/python"\n[targets.gone]\ndevice = "gone"\n'


def _command(fleet: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.cli", "profile", str(MODEL), "--fleet", str(fleet), "--target", "all"]
    return [*command, "--within", "50%", *more]


def _profile(folder: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "fleet.toml").write_text(text)
    command = _command(folder / "fleet.toml", *more)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_all_is_what_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(FAST + SLOW)
    assert load_fleet(path).named == ("fast", "slow")
    path.write_text(FAST + "[targets.local]\nthreads = 2\n")
    assert load_fleet(path).named == ("fast", "local")
    path.write_text("")
    assert load_fleet(path).named == load_fleet().named == ("local",)


def test_one_record_each_of_all_devices(tmp_path: Path) -> None:
    done = _profile(tmp_path, SLOW + FAST + POOL, "--json", "--csv", "out.csv")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["profiles"]
    assert [one["target"] for one in found] == ["slow", "fast", "pool"]
    assert all(one["latency_ms"]["p50"] == pytest.approx(1.0, rel=0.01) for one in found)
    assert [one["target_device"] for one in found][:2] == ["slow", "fast"]
    assert all(one["harness_us"] is not None for one in found)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4
    with Store(tmp_path / "hwnas.db") as store:  # both boards of the pool, whose worst is shown
        assert sorted(one.target.device for one in store.profiles()) == ["fast", "p1", "p2", "slow"]
    # Plain lines where it is piped: one for each result, as they come.
    lines = re.findall(r"^calibration\.onnx on (.*): 1\.00\d ms ± \d.*%$", done.stderr, re.MULTILINE)
    assert sorted(lines) == ["fast", "pool (p1)", "pool (p2)", "slow"]
    assert "\x1b" not in done.stderr


def test_a_pool_of_one_board_is_that_board_with_its_meter(tmp_path: Path) -> None:
    done = _profile(tmp_path, ONE, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["profiles"]
    assert (found["target"], found["target_device"]) == ("pool", "p1")
    assert found["energy_reason"] != "no meter"  # the null device has no energy pass


def test_a_device_that_fails_is_one_of_several(tmp_path: Path) -> None:
    wrong = '[targets.wrong]\ndevice = "fast"\nprovider = "x"\nengine = "openvino"\nprecision = "int8"\n'
    done = _profile(tmp_path, FAST + wrong.replace("openvino", "null") + GONE.replace("gone", "off"), "--json")
    assert [one["target"] for one in json.loads(done.stdout)["profiles"]] == ["fast", "wrong"]
    assert done.returncode == 3
    assert "device off: the agent cannot be started: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hwnas: device off: ")


@pytest.mark.parametrize("colour", [True, False])
def test_a_live_table_on_a_terminal(tmp_path: Path, colour: bool) -> None:
    (tmp_path / "fleet.toml").write_text(SLOW + FAST)
    screen, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"COLUMNS": "80"}
    environment |= {"TERM": "xterm-256color"} | ({} if colour else {"NO_COLOR": "1"})
    command = _command(tmp_path / "fleet.toml", "--json")
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(terminal)
    seen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([screen], [], [], 1.0)[0]:
            try:
                seen += os.read(screen, 1 << 16)
            except OSError:  # the other end is closed
                break
        elif process.poll() is not None:
            break
    assert process.wait(20) == 0
    os.close(screen)
    text = seen.decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for head in ("device", "state", "progress", "result"):
        assert head in plain
    assert "measuring" in plain
    assert re.search(r"1 of 2, \d+ s", plain)
    rows = [line.strip("\r") for line in plain.split("\n") if re.match(r"\r* ?(device|slow|fast) ", line)]
    assert len(rows) >= 6
    assert max(map(len, rows)) <= 80
    assert colour or not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)
