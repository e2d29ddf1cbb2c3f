"""The energy pass through the real agent, meters in the fleet file, and studies that need one."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from test_search import TRAIN

from benchmarks.front import print_front
from benchmarks.report.report import write
from devices import disturbance, energy, energy_pass, measure, metering
from devices.energy import Stretches
from devices.fleet import load_fleet
from devices.meters import Sensor
from devices.plan import Job, Plan
from devices.session import Session, connect
from nas.results import read_results
from profiles.errors import InputError, UnavailableError
from profiles.records import Profile, Target

NULL = Target(name="null", device="local", engine="null", provider="200us")
QUICK = {"processes": 2, "groups": 1, "block_ms": 1.0, "warm_up_ms": 1.0, "memory": False}

# A counter of 5 W that begins when it is opened.
LAB = """
from dataclasses import dataclass
from time import monotonic_ns
from devices.meters import Sensor

@dataclass(frozen=True)
class Lab:
    period_s: float = 0.001

    def open(self):
        now_s = lambda: monotonic_ns() / 1e9
        read = lambda: [(now_s(), 5 * now_s())]
        return Sensor(label="lab", quantity="energy_j", period_s=self.period_s, read=read)
"""


# One that steps each 0.1 s: 2 W at rest, 6 W at work.
STEPPING = """
import math
from dataclasses import dataclass
from time import monotonic_ns
from devices.meters import Sensor

@dataclass(frozen=True)
class Stepping:
    def open(self):
        now_s = lambda: monotonic_ns() / 1e9
        begun, turns = now_s(), []  # (when, J until then, W from then)

        def joules(at_s):
            before = [turn for turn in turns if turn[0] <= at_s] or [(begun, 0.0, 2.0)]
            return before[-1][1] + before[-1][2] * (at_s - before[-1][0])

        def running(now):
            at_s = now_s()
            turns.append((at_s, joules(at_s), 6.0 if now else 2.0))

        def read():
            at_s = now_s()
            return [(at_s, joules(begun + math.floor((at_s - begun) / 0.1) * 0.1))]

        return Sensor(label="s", quantity="energy_j", period_s=0.02, pace_s=0.1, read=read, running=running)
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("energy")
    (folder / "lab_meter.py").write_text(LAB + STEPPING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_LOCK", str(folder / "lock"))
        patch.setenv("PYTHONPATH", str(folder))
        with connect(load_fleet().device("local"), "local") as session:
            yield session


def profiled(session: Session, meter: dict[str, Any]) -> Profile:
    calibration = Path(measure.__file__).with_name("calibration.onnx")
    return measure.profile(session, Job(model=calibration, name="c"), NULL, plan=Plan(**QUICK, meter=meter))


def test_a_replayed_trace_in_a_record(session: Session, root: Path) -> None:
    found = profiled(session, {"name": "replay", "trace": root / "studies" / "replay" / "made-up.csv"})
    assert found.meter == "replay: made-up.csv" and "replayed" in found.flags
    assert found.power_w == pytest.approx(6.0, rel=0.02)
    assert found.idle_power_w == pytest.approx(2.0, rel=0.02)
    assert found.energy_mj is not None and found.energy_total_mj is not None
    assert found.energy_mj >= 4.0 * 0.2 * 0.95  # 4 W for at least 0.2 ms
    assert found.energy_mj / found.energy_total_mj == pytest.approx(4 / 6, rel=0.02)
    assert 5 <= len(found.energy_windows_mj) <= 10  # more than 5 where the machine was disturbed
    assert found.metric("energy_mj") == (found.energy_mj, found.energy_mj_sem)
    assert found.metric("power_w") == (found.power_w, found.power_w_sem)
    assert "energy_mj" not in found.missing
    assert Profile.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_a_meter_of_ones_own_runs_in_the_agent(session: Session) -> None:
    found = profiled(session, {"name": "lab_meter:Lab"})
    assert found.meter == "lab" and "replayed" not in found.flags
    assert found.power_w == pytest.approx(5.0, rel=1e-3)
    assert found.energy_mj == pytest.approx(0.0, abs=5e-3)  # it draws no more than at idle


def test_the_steps_of_a_counter_are_seen(session: Session) -> None:
    found = profiled(session, {"name": "lab_meter:Stepping"})
    # A busy machine sees steps late.
    assert found.idle_power_w == pytest.approx(2.0, rel=0.04)
    assert found.power_w == pytest.approx(6.0, rel=0.04)
    assert found.energy_mj / found.energy_total_mj == pytest.approx(4 / 6, rel=0.04)


@pytest.mark.parametrize(
    ("meter", "reason"),
    [
        (
            {"name": "rapl", "root": "/nowhere"},
            "meter rapl: no counter of package, dram in /nowhere/sys/class/powercap",
        ),
        (
            {"name": "lab_meter:Lab", "period_s": 60.0},
            "lab: its values change every 60 s, which takes windows of 6.12e",
        ),
        ({"name": "command", "command": ["false"]}, "meter command: false ended with status 1"),
    ],
)
def test_without_a_figure_the_record_says_why(session: Session, meter: dict[str, Any], reason: str) -> None:
    found = profiled(session, meter)
    assert found.latency_ms_calibrated > 0
    assert (found.energy_mj, found.power_w, found.idle_power_w) == (None, None, None)
    for field in metering.FIELDS:
        assert found.missing[field].startswith(reason)
    assert found.metric("energy_mj") == (None, None)


def test_a_probe_tells_what_the_meter_is(session: Session) -> None:
    assert metering.probe(session, {"name": "lab_meter:Lab"})["meter"] == "lab"
    with pytest.raises(UnavailableError, match="no counter of"):
        metering.probe(session, {"name": "rapl", "root": "/nowhere"})
    with pytest.raises(InputError, match="no meter named 'wattson'; there are: battery, command"):
        metering.probe(session, {"name": "wattson"})


def test_a_power_meter_that_dies_meanwhile(session: Session) -> None:
    script = "import time\nfor k in range(40): print(f'{k / 100},1', flush=True); time.sleep(0.01)"
    setting = {"name": "command", "command": [sys.executable, "-c", script], "period_s": 0.005}
    found = profiled(session, setting)
    assert "ended with status 0" in found.missing["energy_mj"]


def answer(disturbed: list[int], idle: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """Of a counter: 2 W at idle, 6 W in each window of 10 s and 100 runs, 8 W where it was disturbed."""
    spans = [(0.0, 2.0), *((20.0 + 20 * k, 8.0 if one else 6.0) for k, one in enumerate(disturbed)), (900.0, 2.0)]
    readings, joules = [], 0.0
    for start_s, power_w in spans:
        readings += [[start_s, joules], [start_s + 10, joules + 10 * power_w]]
        joules += 10 * power_w
    return {
        "meter": "lab", "quantity": "energy_j", "period_s": 0.001, "pace_s": 0.0, "flags": [], "readings": readings,
        "windows": [[20.0 + 20 * k, 30.0 + 20 * k, one, 100] for k, one in enumerate(disturbed)],
        "idle": [[0.0, 10.0, idle[0]], [900.0, 910.0, idle[1]]],
    }  # fmt: skip


class Answers:
    """Stands for a session."""

    closed = False

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.left = list(answers)

    def request(self, operation: str, **_: Any) -> dict[str, Any]:
        return self.left.pop(0)


def test_only_steps_at_an_edge_must_be_seen_in_time() -> None:
    sensor = Sensor(label="s", quantity="energy_j", period_s=0.02, pace_s=0.1, read=lambda: [(0.0, 0.0)])
    readings = energy_pass._Readings(sensor)
    readings._steps = [(0.1 * k, 0.05 if k in (4, 9) else 0.005) for k in range(10)]
    assert not readings.late(0.15, 0.75)  # the late step at 0.4 lies within
    assert readings.late(0.15, 0.35) and readings.late(0.45, 0.75)  # just after, just before
    assert readings.late(0.15, 0.95)  # none has come after it yet
    assert not energy_pass._Readings(Sensor(label="s", quantity="power_w", period_s=0.1, read=sensor.read)).late(0.15)


def test_work_does_not_begin_before_the_step_after_idle() -> None:
    """A load that begins at once after the first idle stretch would be spread over it: 20 W beside 3 kW."""
    at_work = {"now": False, "since": monotonic_ns() / 1e9, "joules": 0.0}

    def joules(now_s: float) -> float:
        return at_work["joules"] + (3000.0 if at_work["now"] else 20.0) * (now_s - at_work["since"])

    def running(now: bool) -> None:
        now_s = monotonic_ns() / 1e9
        at_work.update(joules=joules(now_s), since=now_s, now=now)

    held = {"step": -1, "joules": 0.0}

    def read() -> list[tuple[float, float]]:
        now_s = monotonic_ns() / 1e9
        if (step := int(now_s / 0.1)) != held["step"]:
            held.update(step=step, joules=joules(now_s))
        return [(now_s, held["joules"])]

    sensor = Sensor(label="s", quantity="energy_j", period_s=0.02, pace_s=0.1, read=read, running=running)
    taken = energy_pass._stretches(lambda: time.sleep(0.001), sensor, 5, 2.04, 0.0, _Hasty())
    time_s, value = np.array(taken["readings"]).T
    windows, idle = np.array(taken["windows"]), np.array(taken["idle"])
    stretches = Stretches(windows_s=windows[:, :2], runs=windows[:, 3], idle_s=idle[:, :2])
    idle_j = energy.energy_between(time_s, value, "energy_j", stretches.idle_s)
    assert idle_j / np.diff(stretches.idle_s).ravel() == pytest.approx(20.0, rel=0.15)


class _Hasty(random.Random):
    def random(self) -> float:
        return 0.0


def test_disturbed_windows_are_left_out_or_flagged() -> None:
    def measured(*answers: dict[str, Any]) -> metering.Metered:
        return metering.measure(Answers(*answers), {"name": "lab"})  # type: ignore[arg-type]

    calm = measured(answer([0, 1, 0, 1, 0, 0, 0]))
    assert (calm.energy and calm.energy.energy_mj, calm.flags) == (pytest.approx(400.0), ())
    loud = measured(answer([0, 1] * 4 + [1, 1]))
    assert (loud.energy and loud.energy.energy_mj, loud.flags) == (pytest.approx(520.0), ("energy_disturbed",))
    assert measured(answer([0] * 5, idle=(0, 1))).flags == ("energy_disturbed",)


def test_a_clock_that_falls_while_nothing_runs_is_no_disturbance(monkeypatch: pytest.MonkeyPatch) -> None:
    zero = {"pressure_us": 0, "steal_ticks": 0, "waited_ns": 0, "switches": 0}
    clocks = iter([2_400_000, 800_000, 800_000])
    waited = iter([0, 0, 10**9])

    class Sources:
        def read(self) -> disturbance.Reading:
            khz, waited_ns = next(clocks), next(waited)
            return disturbance.Reading(time_ns=monotonic_ns(), frequency_khz=khz, **(zero | {"waited_ns": waited_ns}))

    monkeypatch.setattr(disturbance, "Sources", Sources)
    readings = energy_pass._Readings(Sensor(label="s", quantity="energy_j", period_s=0.1, read=lambda: [(0.0, 0.0)]))
    readings.edge()
    assert not readings.disturbed
    readings.edge()
    assert readings.disturbed  # by what else ran


def test_a_refused_pass_is_taken_once_more() -> None:
    moved = answer([0] * 5)
    moved["readings"][-1][1] += 5.0
    again = metering.measure(Answers(moved, answer([0] * 5)), {"name": "lab"})  # type: ignore[arg-type]
    assert again.energy is not None
    refused = metering.measure(Answers(moved, moved), {"name": "lab"})  # type: ignore[arg-type]
    assert refused.energy is None and refused.reason.startswith("lab: idle power moved by 22.2 %")


# The fleet file


def fleet_file(folder: Path, meter: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(f'[devices.here]\ntransport = "local"\nmeter = {meter}\n[targets.replayed]\ndevice = "here"\n')
    return path


def test_a_meter_is_a_name_or_a_table_and_its_files_lie_beside_the_fleet_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("0,2,0\n1,2,0\n2,3,1\n3,3,1\n")
    assert load_fleet().meters == {}
    assert load_fleet(fleet_file(tmp_path, '"rapl"')).meters["here"] == {
        "name": "rapl",
        "domains": ("package", "dram"),
        "root": "/",
        "period_s": 0.001,
    }
    found = load_fleet(fleet_file(tmp_path, '{name = "replay", trace = "t.csv"}'))
    assert found.meters["here"] == {"name": "replay", "trace": tmp_path / "t.csv"}
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load_fleet(fleet_file(tmp_path, '{name = "replay", trace = "~/t.csv"}'))
    assert found.meters["here"] == {"name": "replay", "trace": tmp_path / "t.csv"}


@pytest.mark.parametrize(
    ("meter", "message"),
    [
        ('"wattson"', "devices.here.meter: no meter named 'wattson'; there are: battery, command, hwmon"),
        ("3", "devices.here.meter: given 3; accepted: one of battery, command, hwmon"),
        ("{gpu = 1}", "devices.here.meter: given {'gpu': 1}; accepted: one of battery"),
        ('{name = "rapl", domain = ["psys"]}', "devices.here.meter.domain: unknown key, did you mean domains?"),
        ('{name = "nvml", gpu = "first"}', "devices.here.meter.gpu: given 'first'; accepted: a whole number"),
        ('{name = "rapl", period_s = 0.0}', "devices.here.meter: meter rapl: period_s: given 0.0; accepted: a number"),
        ('{name = "command", command = []}', "devices.here.meter: meter command: command: given []; accepted: a prog"),
        ('"command"', "devices.here.meter.command: missing; add it"),
        (
            '{name = "replay", trace = "~no-such-user/t.csv"}',
            "devices.here.meter.trace: given '~no-such-user/t.csv'; accepted: a path; this machine has no user of that",
        ),
        (
            '{name = "replay", trace = "no.csv"}',
            "devices.here.meter.trace: given 'no.csv'; accepted: a file; there is none",
        ),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, meter: str, message: str) -> None:
    path = fleet_file(tmp_path, meter)
    with pytest.raises(InputError) as caught:
        load_fleet(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value).splitlines()) == 1


# Studies


def search(root: Path, folder: Path, fleet: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(TRAIN.format(fault=""))
    settings = {"train.script": folder / "train.py", "search.generator": "sobol", "confirm.seeds": 0}
    settings |= {"confirm.processes": 2, "budget.trials": 2}
    options = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "benchmarks.cli", "search", str(root / "studies" / "energy.toml"), *options, *more]
    return subprocess.run(
        [*command, "--fleet", str(fleet), "--out", str(folder / "run")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.timeout(500)
def test_energy_and_power_are_objectives_of_the_ready_study_and_labelled_as_replayed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = search(root, tmp_path, root / "studies" / "replay" / "fleet.toml", "--set", "constraint=[]", "--json")
    assert ran.returncode == 0, ran.stderr
    front = json.loads(ran.stdout)["front"]
    rows = list(csv.DictReader((tmp_path / "run" / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["completed", "completed"]
    for row in rows:
        assert float(row["energy_mj@replayed"]) > 0 and float(row["energy_mj@replayed_sem"]) > 0
        assert float(row["power_w@replayed"]) == pytest.approx(6.0, rel=0.02) and row["power_w@replayed_sem"]
    assert all({"energy_mj@replayed", "power_w@replayed"} <= set(member["metrics"]) for member in front)
    for record in (tmp_path / "run").glob("trials/*/profile-replayed.json"):
        assert "replayed" in json.loads(record.read_text())["flags"]
    print_front(read_results(tmp_path / "run"))
    assert "energy and power of replayed are replayed (replay: made-up.csv), not measured" in capsys.readouterr().err
    assert "replay: made-up.csv" in write(tmp_path / "run").read_text()


@pytest.mark.parametrize(
    ("meter", "code", "message"),
    [
        (None, 2, "energy_mj@replayed: the device here has no meter; give it one in the fleet file"),
        ('{name = "rapl", root = "/nowhere"}', 3, "meter rapl: no counter of package, dram in /nowhere/sys/class"),
    ],
)
def test_a_study_that_needs_a_meter_ends_before_anything_is_trained(
    root: Path, tmp_path: Path, meter: str | None, code: int, message: str
) -> None:
    fleet = fleet_file(tmp_path, meter or "3")
    if meter is None:
        fleet.write_text(fleet.read_text().replace("meter = 3\n", ""))
    ran = search(root, tmp_path, fleet)
    assert ran.returncode == code
    assert len(ran.stderr.splitlines()) == 1
    assert message in ran.stderr
    assert not list((tmp_path / "run").glob("trials/*"))


def test_the_plan_wants_five_windows() -> None:
    with pytest.raises(InputError, match="energy_windows: given 4; accepted: from 5"):
        Plan(energy_windows=4)
