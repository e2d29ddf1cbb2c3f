"""The long forms of tests/test_kills.py, and what needs root: a disk that is full, a disk that cannot be written."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import Search
from processes import wait_for
from test_search import hwnas, write_study

from nas.results import read_results

pytestmark = [
    pytest.mark.systems,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which is Linux's"),
]

KILLS = 20


def test_a_search_survives_20_kills_at_random_moments(tmp_path: Path) -> None:
    """Of its controller, from before its first event to its last results; each time nothing of it is left."""
    seed = int(time.time())
    print(f"seed {seed}")
    rng = random.Random(seed)
    search = Search(write_study(tmp_path, "time.sleep(1)", trials="8", seeds="1"))
    ended_before = 0
    for _ in range(KILLS):
        events = len(search.events())
        running = search.start()
        # Half of the time from its start, half of the time from when it has got further than the one before it.
        patience = time.monotonic() + 30
        if rng.random() < 0.5:
            wait_for(
                lambda events=events, running=running, patience=patience: (
                    len(search.events()) > events + 2 or running.poll() is not None or time.monotonic() > patience
                )
            )
        try:
            running.wait(rng.uniform(0, 5))
            ended_before += 1
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        search.check_nothing_is_left()
        search.check_nothing_is_lost()
    assert search.start().wait(900) == 0, search.stderr
    search.check_the_end(trials=8)
    assert {trial.state for trial in read_results(search.run).trials} == {"completed"}
    assert ended_before < KILLS / 2  # else the kills hit nothing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """32 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("moment", ["it begins", "a job writes"])
def test_a_full_disk_ends_a_search_in_one_line_and_it_goes_on_once_there_is_room(
    tmp_path: Path, small_disk: Path, moment: str
) -> None:
    """No trial is lost to it: what a full disk broke is done again."""
    # The training of trial 1 fills what is left before it writes its weights, as another user would.
    ballast = small_disk / "ballast"
    once = tmp_path / "once"
    fill = f"""
import os
def fill():
    with open({str(ballast)!r}, "wb", buffering=0) as file:
        try:
            while True: file.write(bytes(1 << 12))
        except OSError: pass
if candidate["trial"] == 1 and not os.path.exists({str(once)!r}):
    open({str(once)!r}, "w").close()
    fill()
    (out / "big").write_bytes(bytes(1 << 20))
"""
    study = write_study(tmp_path, fill if moment == "a job writes" else "", trials="3", seeds="0")
    run = small_disk / "run"
    if moment == "it begins":
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
    first = hwnas("search", study, "--out", run, cwd=tmp_path)
    last = first.stderr.splitlines()[-1]
    assert first.returncode == 3, first.stderr
    assert last.startswith("hwnas: ") and ("o space left" in last or "disk is full" in last), last
    assert "Traceback" not in first.stderr
    ballast.unlink()
    second = hwnas("search", study, "--resume", "--out", run, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert [(trial.state, trial.reason) for trial in read_results(run).trials] == [("completed", None)] * 3


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ran = hwnas("search", write_study(tmp_path), "--out", small_disk / "run", cwd=tmp_path)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1
    assert f"--out {small_disk / 'run'}: Read-only file system; accepted: a folder that can be written" in ran.stderr
