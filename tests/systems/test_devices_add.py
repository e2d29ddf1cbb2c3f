"""From a host with nothing but Python to the first figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from boards import Board

pytestmark = pytest.mark.systems

BARE = "/usr/bin/python3"  # of the distribution: without numpy, and on Debian without ensurepip


@pytest.fixture
def bare() -> str:
    code = "import sys, venv; sys.exit(sys.version_info < (3, 10))"
    if not Path(BARE).exists() or subprocess.run([BARE, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip(f"this machine has no {BARE} from 3.10 on")
    return BARE


def _hwnas(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ, check=False)


def test_a_new_host_is_made_ready_checked_and_used(lab: list[Board], bare: str, tmp_path: Path) -> None:
    board, config = lab[0], str(lab[0].config)
    added = _hwnas("devices", "add", "board0", "--python", bare, "--config", config, folder=tmp_path)
    if "Could not find a version" in added.stderr or "ConnectionError" in added.stderr:
        pytest.skip("no package index can be reached")
    assert added.returncode == 0, added.stderr
    assert '[targets.board0]\ndevice = "board0"' in added.stdout
    assert (tmp_path / "fleet.toml").read_text() == added.stdout
    size_mb = sum(path.lstat().st_size for path in board.home.rglob("*") if "onnxruntime" not in path.parts) / 1e6
    assert size_mb < 60

    again = _hwnas("devices", "add", "board0", "--python", bare, "--config", config, folder=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "hwnas: fleet.toml: board0 is there already; give another --name\n"

    checked = _hwnas("devices", "check", "--fleet", "fleet.toml", "--json", folder=tmp_path)
    assert checked.returncode == 0, checked.stderr
    (found,) = json.loads(checked.stdout)["devices"]
    assert found["error"] is None
    assert found["noise"] >= 0
    assert "cpu" in found["providers"]
    assert found["fingerprint"]["versions"]["onnxruntime"] == found["health"]["packages"]["onnxruntime"]
    assert found["health"]["executable"].startswith(str(board.home))


def test_what_is_missing_is_said_and_nothing_is_added(lab: list[Board], tmp_path: Path) -> None:
    config = str(lab[1].config)
    for arguments, status, message in (
        (
            ["board1", "--python", "/no/python"],
            3,
            "there is no /no/python on board1; accepted: Python 3.10 or later, see --python",
        ),
        (["nobody@board1"], 3, "it accepts none of your keys: ssh-copy-id nobody@board1"),
        (["-oProxyCommand=x"], 2, ""),
        (["board1", "--name", "a b"], 2, "--name: given 'a b'; accepted: up to 64 letters, digits, '.', '_'"),
    ):
        done = _hwnas("devices", "add", *arguments, "--config", config, folder=tmp_path)
        assert done.returncode == status
        assert message in done.stderr
        assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_does_not_answer_is_one_of_several(lab: list[Board], tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    keys = f'transport = "ssh"\npython = "{sys.executable}"\nconfig = "{lab[0].config}"\n'
    fleet.write_text(f'[devices.good]\nhost = "board2"\n{keys}[devices.bad]\nhost = "nowhere.invalid"\n{keys}')
    done = _hwnas("devices", "check", "--fleet", str(fleet), folder=tmp_path)
    assert done.returncode == 3
    assert "x device bad: ssh: Could not resolve hostname nowhere.invalid" in done.stdout
    assert "run to run" in done.stdout
