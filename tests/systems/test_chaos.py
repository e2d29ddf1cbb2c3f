"""Everything that can die does, at random: no result is lost, doubled or mixed up, and nothing stays behind."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from boards import Board
from processes import wait_for

import devices
from profiles.store import Store

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
TIMES_US = {"fast": 100, "slow": 700}


@pytest.mark.parametrize(
    ("candidates", "seconds", "longest_cut_s"),
    [
        pytest.param(20, 45.0, 4.0, marks=pytest.mark.systems),
        pytest.param(700, 300.0, 60.0, marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(1800)
def test_no_result_is_lost_doubled_or_mixed_up(
    lab: list[Board], tmp_path: Path, candidates: int, seconds: float, longest_cut_s: float
) -> None:
    fleet, models, store = tmp_path / "fleet.toml", tmp_path / "models", tmp_path / "store.db"
    fleet.write_text(_fleet(lab))
    models.mkdir()
    for number in range(candidates):
        (models / f"m{number:03}.onnx").write_bytes(MODEL.read_bytes() + b"\x52\x03%03d" % number)
    for board in lab:
        (board.home / ".cache/hwnas/measured.jsonl").unlink(missing_ok=True)
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    chaos = _Chaos(lab, random.Random(seed), seconds, longest_cut_s)
    command = [sys.executable, str(Path(__file__).with_name("controller.py")), str(fleet), str(models), str(store)]
    with chaos:
        while True:
            with (tmp_path / "controller.log").open("ab") as log:
                chaos.controller = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            status = chaos.controller.wait()
            if status != -signal.SIGKILL:
                break
    assert status == 0, (tmp_path / "controller.log").read_text()[-2000:]
    assert (tmp_path / "controller.log").read_text() == ""

    with Store(store) as found:
        profiles = found.profiles(study="chaos")
    digests = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in models.iterdir()}
    pairs = Counter((profile.model, profile.target.name) for profile in profiles)
    assert pairs == Counter(itertools.product(digests, TIMES_US))
    for profile in profiles:
        assert profile.digest == digests[profile.model]
        # The times of the two targets are far apart; what else runs here only makes them longer.
        least_us = min(time_ns for block in profile.blocks for time_ns in block.latencies_ns) / 1e3
        assert TIMES_US[profile.target.name] <= least_us
        assert profile.target.name == "slow" or least_us < TIMES_US["slow"]
        assert profile.target.device in (("b0", "b1") if profile.target.name == "fast" else ("b2", "b3"))
    print(f"{len(profiles)} profiles; {dict(chaos.done)}")

    # A board whose link was cut hears of it when the signs of life stay away.
    wait_for(lambda: not any(board.processes("agent-") for board in lab), 60.0)
    wait_for(lambda: not _clients(lab[0].config), 30.0)
    for board in lab:
        lines = (board.home / ".cache/hwnas/measured.jsonl").read_text().splitlines()
        spans = sorted((span["start_s"], span["end_s"]) for span in map(json.loads, lines))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


class _Chaos:
    """For ``seconds`` something dies every second or so. ``done``: what, and how often."""

    def __init__(self, lab: list[Board], chance: random.Random, seconds: float, longest_cut_s: float) -> None:
        self.controller: subprocess.Popen[bytes] | None = None
        self.done: Counter[str] = Counter()
        self._lab, self._chance, self._longest_cut_s = lab, chance, longest_cut_s
        self._end = time.monotonic() + seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _rage(self) -> None:
        while time.monotonic() < self._end and not self._over.wait(self._chance.uniform(0.5, 2.0)):
            board = self._chance.choice(self._lab)
            what = self._chance.choice(["sshd", "session", "agent", "worker", "link", "controller", "power"])
            if what == "link":
                board.link(up=False)
                self._over.wait(self._chance.uniform(0.1, self._longest_cut_s))
                board.link(up=True)
            elif what == "power":
                board.power_cut()
                board.boot()
            elif what == "controller":
                if self._chance.random() < 0.5 and self.controller:
                    with contextlib.suppress(ProcessLookupError):
                        self.controller.kill()
            else:
                word = {"sshd": "/usr/sbin/sshd", "session": "sshd: root", "agent": "-u /", "worker": " worker "}[what]
                for pid in board.processes(word):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.done[what] += 1


def _fleet(lab: list[Board]) -> str:
    text = ""
    for board in lab:
        pool = "fast-boards" if board.number < 2 else "slow-boards"
        text += f'[devices.b{board.number}]\ntransport = "ssh"\nhost = "{board.name}"\nconfig = "{board.config}"\n'
        text += f'python = "{sys.executable}"\npool = "{pool}"\n'
    for name, time_us in TIMES_US.items():
        text += f'[targets.{name}]\ndevice = "{name}-boards"\nengine = "null"\nprovider = "{time_us}us"\n'
    return text


def _clients(config: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if words[0] == "ssh" and str(config) in words:
                found.append(path.parent.name)
    return found
