"""Duets between targets that cannot share a process: two residents, of which one stands still while the other runs."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import of_agent

from benchmarks.figures import _nets
from devices.artifact import prepare
from devices.duet import DuetPlan, compare
from devices.plan import Job
from devices.session import Session, connect
from devices.transports.local import Device
from profiles.comparisons import Comparison
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

BASE = Target(name="base", device="here", engine="null", provider="300us")
PLAN = DuetPlan(budget_s=0.5, groups=1, block_ms=5.0, warm_up_ms=1.0, floor=0.2)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with connect(Device(), "here") as found:
        yield found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(model=_nets.mlp(tmp_path / "m.onnx"), name="m")


def duet(session: Session, job: Job, other: Target, base: Target = BASE, **how: Any) -> Comparison:
    jobs = [prepare(session, job, target) for target in (base, other)]
    return compare(session, *jobs, other, base_target=base, plan=dataclasses.replace(PLAN, **how))


def test_a_target_that_takes_twice_as_long(session: Session, job: Job) -> None:
    found = duet(session, job, dataclasses.replace(BASE, name="other", provider="600us"))
    assert found.verdict.verdict == "regressed"
    assert found.verdict.ratio == pytest.approx(2, rel=0.2)
    assert found.base_ms == pytest.approx(0.3, rel=0.5)
    record = found.to_dict()
    assert (record["base_target"], record["target"]) == ("base", "other")
    assert {block.arm for block in found.blocks} == {"base", "other"}


def test_what_a_duet_refuses() -> None:
    for name in ("budget_s", "interval_within", "interval_ms"):
        for given in (0, math.inf, math.nan):
            with pytest.raises(InputError, match=f"{name}: given {given}; accepted: a number above 0"):
                DuetPlan(**{name: given})
    with pytest.raises(InputError, match="floor: given 1; accepted: from 0, below 1"):
        DuetPlan(floor=1)


def test_two_engines(session: Session, job: Job) -> None:
    other = Target(name="ort", device="here")
    found = duet(session, job, other, dataclasses.replace(BASE, provider="10ms"), floor=0.9)
    assert found.verdict.ratio < 0.1
    assert found.base_device is not None
    assert "onnxruntime" in found.device["versions"]
    assert "onnxruntime" not in found.base_device["versions"]


def test_two_pythons(session: Session, job: Job, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexport SEEN=yes\ntouch {tmp_path}/seen\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = duet(session, job, dataclasses.replace(BASE, name="new", python=str(python)), floor=0.9)
    assert (tmp_path / "seen").exists()
    assert found.verdict.ratio == pytest.approx(1, rel=0.3)


def test_a_python_that_is_not_there(session: Session, job: Job) -> None:
    with pytest.raises(UnavailableError, match=r"cannot be started.*no/such/python"):
        duet(session, job, dataclasses.replace(BASE, name="new", python="/no/such/python"))


def test_targets_of_two_devices(session: Session, job: Job) -> None:
    with pytest.raises(InputError, match="given targets of here and there; accepted: of one device"):
        compare(session, job, job, dataclasses.replace(BASE, device="there"), base_target=BASE)


def test_one_stands_still_while_the_other_runs_and_its_death_is_told(session: Session, job: Job) -> None:
    other = dataclasses.replace(BASE, name="other", provider="600us")
    stopped: list[int] = []

    def watch() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            states = {pid: state for pid in of_agent("resident") if (state := _state(pid))}
            if sorted(states.values()) in (["S", "T"], ["R", "T"]):
                stopped.extend(pid for pid, state in states.items() if state == "T")
            if len(stopped) > 5:
                os.kill(stopped[-1], signal.SIGKILL)
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(MeasurementError, match=r"the process of (base|other) was killed by SIGKILL"):
        duet(session, job, other, budget_s=20.0, floor=0.0001)
    watcher.join()
    assert stopped
    assert not of_agent("resident")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
