"""Kills, as they happen: each part of a running search with SIGKILL; tests/systems has 20 of the controller."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kills import Search, end
from processes import wait_for
from test_search import hwnas, write_study

from nas.results import read_results

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which is Linux's"),
]


def test_a_search_whose_controller_is_killed_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """Killed while it measures (the generator stopped), and while jobs train, one of them stopped by somebody."""
    search = Search(write_study(tmp_path, "time.sleep(1.5)", trials="3"))

    first = search.start()
    wait_for(lambda: any(search.run.glob("trials/0/untrained.onnx")))
    stopped = search.processes("agent") + search.processes("generator")
    assert len(stopped) == 2 and all(end(pid, signal.SIGSTOP) for pid in stopped)
    refused = hwnas("search", tmp_path / "small.toml", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"is in use by process {first.pid} on " in refused.stderr and " since 20" in refused.stderr
    kill(first)
    search.check_nothing_is_left()
    search.check_nothing_is_lost()

    second = search.start()
    wait_for(lambda: search.processes("training"))
    for pid in search.processes("job") + search.processes("training"):
        end(pid, signal.SIGSTOP)
    kill(second)
    search.check_nothing_is_left()
    search.check_nothing_is_lost()

    third = search.start()
    wait_for(lambda: any(search.run.glob("trials/*/confirm-*/job/job.json")), 120)
    kill(third)
    search.check_nothing_is_left()
    search.check_nothing_is_lost()

    assert search.start().wait(200) == 0, search.stderr
    search.check_the_end(trials=3)
    search.check_nothing_is_left()
    assert {trial.state for trial in read_results(search.run).trials} == {"completed"}


def test_a_search_goes_on_without_its_agent_its_generator_or_a_job(tmp_path: Path) -> None:
    """Each is killed once, the job and the training of different trials."""
    search = Search(write_study(tmp_path, "time.sleep(1.5)", trials="4", seeds="0"))
    running = search.start()
    hit: dict[str, str] = {}
    while running.poll() is None:
        for kind in {"agent", "generator", "job", "training"} - hit.keys():
            for pid in search.processes(kind):
                trial = search.trial_of(pid)
                if (trial is None or trial not in hit.values()) and end(pid):
                    hit[kind] = trial or ""
                    break
        time.sleep(0.1)
    assert running.returncode == 0, search.stderr
    assert sorted(hit) == ["agent", "generator", "job", "training"]
    search.check_the_end(trials=4)
    search.check_nothing_is_left()
    retried = [str(event.trial) for event in search.events() if event.kind == "retried"]
    assert sorted(retried) == sorted([hit["job"], hit["training"]])
    assert {trial.state for trial in read_results(search.run).trials} == {"completed"}


def kill(search: subprocess.Popen[bytes]) -> None:
    search.kill()
    search.wait()
