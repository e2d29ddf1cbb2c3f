"""``hwnas profile`` and ``hwnas compare`` from end to end: output, JSON against its schema, the store, CSV."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from benchmarks import compare, exchange, measuring, models, profile
from benchmarks.figures import _nets
from devices import blocks as timed
from devices import conditions, disturbance, extras, rounds
from devices.assemble import Taken
from devices.convert import convert
from devices.disturbance import Reading
from devices.plan import Job, Plan
from profiles import frames
from profiles.errors import HwnasError, InputError, UnavailableError
from profiles.records import Target
from profiles.store import Store, clock_of

NULL = Target(name="n", device="local", engine="null", provider="300us")


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two models on a null target, whose calibration is known already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    Path("fleet.toml").write_text('[targets.n]\nengine = "null"\nprovider = "300us"\n')
    models = [str(_nets.mlp(tmp_path / f"{name}.onnx")) for name in "ab"]
    monkeypatch.setattr("profiles.store.REFERENCE_COUNT", 1)
    monkeypatch.setattr("devices.reference.REFERENCE_COUNT", 1)
    yield measuring.Setting.of(models, ["n"], Path("fleet.toml"), None, None, {}, None)


def options(**how: Any) -> dict[str, Any]:
    usual = {
        "within": "50%", "budget": "1s", "interval_ms": None, "timeout": "1m", "sweeps": [], "callers": None,
        "sustain": None, "operators": False, "json": True, "csv": None,
    }  # fmt: skip
    return usual | how


def test_a_profile_is_json_a_row_of_the_store_and_of_a_csv(
    setting: Any, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--sustain: given 0\.5 s; accepted: from 1s"):
        profile.run(setting, **options(sustain="500ms"))
    profile.run(setting, **options(callers=2, sustain="1s", csv=tmp_path / "p.csv"))
    out, err = capsys.readouterr()
    found = json.loads(out)
    check_schema(found, root / "docs/schema/profile.json")
    assert [one["model"] for one in found["profiles"]] == ["a.onnx", "b.onnx"]
    first = found["profiles"][0]
    assert first["stopped"] == "within 50 %"
    assert first["latency_ms"]["p50"] >= 0.3
    assert first["concurrent"]["callers"] == 2
    assert len(first["sustained"]["windows"]) >= 5
    assert "first use here" in err
    with Store(tmp_path / "hwnas.db") as store:
        kept = store.profiles()
        assert [one.to_dict(raw=False) for one in kept] == found["profiles"]
        assert len(store.frame()) == 2
        assert len(store.times_frame()) == sum(len(b.latencies_ns) for one in kept for b in one.blocks)
    assert [one.to_dict(raw=False) for one in frames.read_csv(tmp_path / "p.csv")] == found["profiles"]
    exchange.import_csv(tmp_path / "p.csv", "other.db", None)
    exchange.export_csv(tmp_path / "again.csv", "other.db", None)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "p.csv").read_text()


def test_what_cannot_be_measured_beside_a_profile_leaves_the_profile(
    setting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    profile.run(setting, **options(operators=True, callers=2))  # engine null has no operators
    found = json.loads(capsys.readouterr().out)["profiles"]
    assert [one["operators"] for one in found] == [[], []]
    assert all("operators" in one["missing"] and one["concurrent"]["callers"] == 2 for one in found)


def test_the_first_size_of_a_shape_is_the_batch(tmp_path: Path) -> None:
    def given(shapes: list[str], batch: int | None = None) -> tuple[Any, int]:
        found = measuring.Setting.of(["a"], ["local"], None, shapes, None, {"batch": batch}, None)
        return dict(found.shapes), found.targets[0].batch

    assert given(["x=8x3x4x4", "ids=8x7"]) == ({"x": (1, 3, 4, 4), "ids": (1, 7)}, 8)
    assert given(["x=8x3x4x4"], 8) == ({"x": (1, 3, 4, 4)}, 8)
    with pytest.raises(InputError, match="batch: given 8 of --shape and 2 of --batch; accepted: one of them, or the s"):
        given(["x=8x3x4x4"], 2)
    assert given(["x=1x3x4x4"]) == ({"x": (1, 3, 4, 4)}, 1)
    assert given(["x=8x3", "ids=2x7"]) == ({"x": (8, 3), "ids": (2, 7)}, 1)
    assert given(["x=128"]) == ({"x": (128,)}, 1)


def test_a_callable_is_one_network_for_engines_of_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [
        models.jobs(["own_nets:net"], shapes={"input": (1, 3, 4)}, inputs=None, folder=tmp_path / name)[0]
        for name in "ab"
    ]
    assert found[0].model.read_bytes() == found[1].model.read_bytes()  # though its weights are random
    assert found[0].program is not None and found[0].program.is_file()
    quantised = convert(found[0].model, "int8", folder=tmp_path).model
    (job,) = models.jobs([str(quantised)], shapes={}, inputs=None, folder=tmp_path)
    assert job.precision == "int8"


def test_paced_latencies_stand_on_paced_calibrations(setting: Any, capsys: pytest.CaptureFixture[str]) -> None:
    profile.run(setting, **options(interval_ms=2.0))
    for one in json.loads(capsys.readouterr().out)["profiles"]:
        assert one["calibration"]["reference_ms"] == one["calibration"]["measured_ms"]


def test_a_table_says_what_a_person_asks_for(setting: Any, capsys: pytest.CaptureFixture[str]) -> None:
    profile.run(setting, **options(json=False, interval_ms=2.0, sweeps=["batch=1,2"]))
    out, err = capsys.readouterr()
    head, *rows = (line.split("\t") for line in out.splitlines())
    assert head == ["model", "target", "latency ms", "± %", "p90 ms", "per s", "MB"]
    assert [row[:2] for row in rows] == [[f"{m}.onnx", t] for t in ("n", "n, batch 2") for m in "ab"]
    assert "a call of an empty model takes up to" in err
    assert "not subtracted" in err


def test_a_file_that_cannot_be_written_does_not_cost_the_answer(
    setting: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("profiles.frames.write_text", full)
    with pytest.raises(UnavailableError, match=r"p\.csv: No space left on device"):
        profile.run(setting, **options(csv=tmp_path / "p.csv", html=tmp_path / "p.html"))
    assert len(json.loads(capsys.readouterr().out)["profiles"]) == 2
    assert (tmp_path / "p.html").exists()
    (tmp_path / "p.html").unlink()
    monkeypatch.setattr("benchmarks.profile.show", full)
    with pytest.raises(UnavailableError, match=r"^stdout: No space left on device$"):
        profile.run(setting, **options(json=False, html=tmp_path / "p.html"))
    assert (tmp_path / "p.html").exists()


def test_what_cannot_be_written_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring.check_folders(csv=tmp_path / "new.csv", html=None)
    with pytest.raises(InputError, match=r"--csv .*: given what is no file; accepted: a file, or a path where"):
        measuring.check_folders(csv=tmp_path)
    with pytest.raises(InputError, match=r"--html .*: there is no folder"):
        measuring.check_folders(html=tmp_path / "gone" / "p.html")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match=r"--html .*: its folder cannot be written"):
        measuring.check_folders(html=tmp_path / "p.html")


def test_of_a_pool_the_first_board_is_measured_with_its_meter(tmp_path: Path) -> None:
    boards = "".join(f'[devices.p{n}]\ntransport = "null"\npool = "pool"\nmeter = "rapl"\n' for n in (1, 2))
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(boards + '[targets.t]\ndevice = "pool"\nengine = "null"\n')
    setting = measuring.Setting.of([], ["t"], fleet, None, None, {}, None)
    (target,) = setting.targets
    with measuring.bench(setting) as here:
        assert here.session(target).name == "p1"
        assert (here.meter(target) or {}).get("name") == "rapl"


def test_a_folder_does_not_hide_a_reference_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet8").mkdir()
    exported = Job(model=Path("exported.onnx"), name="resnet8")
    monkeypatch.setattr("nas.models.job", lambda name: exported)
    (job,) = models.jobs(["resnet8"], shapes={}, inputs=None, folder=tmp_path)
    assert job.model == exported.model


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_of_progress_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "40", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    measuring.Progress().hear("pass", {"model": 60 * "m", "pass": "latency", "number": 0, "of": 1})
    assert terminal.getvalue() == "\r\x1b[2K" + 39 * "m"


def test_a_comparison_is_json_and_a_row_of_the_store(
    setting: Any, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    how: dict[str, Any] = {"budget": "1s", "floor": "90%", "interval_ms": None, "timeout": "1m"}
    how["output"] = compare.Output(json=True)
    assert compare.run(setting, fail_on=["regressed"], **how) == 0
    found = json.loads(capsys.readouterr().out)
    check_schema(found, root / "docs/schema/compare.json")
    (one,) = found["comparisons"]
    assert (one["base"], one["other"]) == ("a.onnx", "b.onnx")
    assert one["ratio"] == pytest.approx(1, rel=0.2)
    with Store(tmp_path / "hwnas.db") as store:
        (kept,) = store.comparisons()
    assert kept["ratio"] == one["ratio"]
    assert {arm for _, _, arm, _, _ in kept["blocks"]} == {"base", "other"}


def check_schema(found: Any, path: Path) -> None:
    jsonschema.validate(found, json.loads(path.read_text()))


def test_two_equal_boards_do_not_share_a_reference() -> None:
    other = Target(name="n", device="second", engine="null", provider="300us")
    assert clock_of({}, NULL, "0") != clock_of({}, other, "0")


def test_units_and_shares() -> None:
    assert measuring.seconds("x", "500ms") == 0.5
    assert measuring.seconds("x", "10m") == 600
    assert measuring.share("x", "1.5%") == 0.015
    for wrong in ("", "1", "0s", "-1s", "1 s", "infs"):
        with pytest.raises(InputError, match="accepted: a time"):
            measuring.seconds("x", wrong)
    with pytest.raises(InputError, match="accepted: a percentage"):
        measuring.share("x", "100%")
    assert measuring.share("x", "100 %", whole=True) == 1
    with pytest.raises(InputError, match="accepted: a percentage from 0%, up to 100%"):
        measuring.share("x", "101%", whole=True)


# When there is enough


def answer(ratio: float, spread: float, disturbed: bool = False) -> dict[str, Any]:
    """A latency pass of two groups: calibration 100 us, the model ``ratio`` times that."""
    times = {"model": 100_000 * ratio, "calibration": 100_000}
    order = ("model", "calibration", "calibration", "model")
    return {
        "blocks": [
            [group, arm, [round(times[arm] * (1 + spread * group))] * 3, ["steal"] if disturbed else [], None, None]
            for group in range(2)
            for arm in order
        ]
    }


def rounds_of(ratios: list[float], plan: Plan) -> int:
    taken = Taken(model="m")
    for _, number in rounds.order([taken], plan, time.monotonic):
        taken.latency[number] = answer(ratios[number], 0.0)
    return len(taken.latency)


def test_measuring_goes_on_until_the_interval_is_narrow() -> None:
    plan = Plan(processes=3, groups=2, within=0.01, budget_s=1000)
    assert rounds_of([2.0] * 3, plan) == 3
    apart = [2.0, 2.1] * 500
    assert 3 < rounds_of(apart, plan) < 200
    assert rounds_of([2.0, 2.0, 2.2, 2.0] * 99, dataclasses.replace(plan, processes=2)) > 3


def test_a_model_that_failed_is_left_alone() -> None:
    taken = [Taken(model="a"), Taken(model="b")]
    taken[0].error = HwnasError("broken")
    seen = []
    for which, number in rounds.order(taken, Plan(processes=3, groups=2, within=0.01), time.monotonic):
        seen.append((which, number))
        taken[which].latency[number] = answer(2.0, 0.0)
    assert [number for which, number in seen if which == 1] == [0, 1, 2]
    assert len([1 for which, _ in seen if which == 0]) == 1


def test_a_budget_ends_it() -> None:
    assert rounds_of([2.0, 3.0] * 5, Plan(processes=3, groups=2, within=0.0001, budget_s=1e-9)) == 3


# Conditions


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A recorded machine of two cores that throttle."""
    cpu = "sys/devices/system/cpu/cpu{}/"
    for name, text in {
        cpu.format(0) + "cpufreq/scaling_cur_freq": "1800000\n",
        cpu.format(1) + "cpufreq/scaling_cur_freq": "2400000\n",
        cpu.format(0) + "thermal_throttle/core_throttle_count": "3\n",
        cpu.format(1) + "thermal_throttle/core_throttle_count": "4\n",
        "sys/class/thermal/thermal_zone0/temp": "45000\n",
        "sys/class/thermal/thermal_zone1/temp": "61500\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_frequency_temperature_and_throttling_of_a_recorded_tree(tree: Path, tmp_path: Path) -> None:
    found = disturbance.Sources(tree).read()
    assert (found.frequency_khz, found.temperature_mc) == (2_400_000, 61_500)
    assert (found.throttle_count, found.throttle_bits) == (7, 0x50005)
    old = tree / "sys/devices/platform/soc/soc:firmware/get_throttled"
    new = tree / "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"  # of a Raspberry Pi 5
    new.parent.mkdir(parents=True)
    old.rename(new).write_text("4\n")
    assert disturbance.Sources(tree).read().throttle_bits == 4
    quiet = disturbance.Sources(tmp_path / "nothing").read()
    assert (quiet.frequency_khz, quiet.temperature_mc, quiet.throttle_count, quiet.throttle_bits) == (None,) * 4


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ({"throttle_count": 7}, {"throttle_count": 7}, []),
        ({"throttle_count": 7}, {"throttle_count": 8}, ["throttled"]),
        ({"throttle_bits": 0x50000}, {"throttle_bits": 0x50000}, []),  # since boot, not now
        ({"throttle_bits": 0}, {"throttle_bits": 4}, ["throttled"]),
        ({"frequency_khz": 2_400_000}, {"frequency_khz": 2_200_000}, []),
        ({"frequency_khz": 2_400_000}, {"frequency_khz": 1_800_000}, ["slowed"]),
        ({"frequency_khz": 1_800_000}, {"frequency_khz": 2_400_000}, []),
        ({"frequency_khz": None}, {"frequency_khz": 1}, []),
    ],
)
def test_a_machine_that_slows_itself(before: dict[str, Any], after: dict[str, Any], reasons: list[str]) -> None:
    counters = {"pressure_us": 0, "steal_ticks": 0, "waited_ns": 0, "switches": 0}
    readings = [Reading(time_ns=t, **(counters | more)) for t, more in ((0, before), (50_000_000, after))]
    assert disturbance.reasons(*readings) == reasons
    # With pauses a governor lowers the clock of a quiet machine.
    assert disturbance.reasons(*readings, busy=False) == [reason for reason in reasons if reason != "slowed"]


@pytest.mark.parametrize("paced", [False, True])
def test_a_clock_that_falls_marks_blocks_that_have_no_pauses(paced: bool) -> None:
    def falling(_: int) -> tuple[tuple[int, ...], Reading, Reading]:
        zero = {"pressure_us": 0, "steal_ticks": 0, "waited_ns": 0, "switches": 0}
        before, after = (
            Reading(time_ns=ns, frequency_khz=khz, **zero) for ns, khz in ((0, 2_400_000), (10**7, 800_000))
        )
        return (1000,), before, after

    found = timed.measure({"m": timed.Arm(runs=1, time=falling)}, groups=1, max_groups=1, seed=0, paced=paced)
    assert [block.reasons for block in found] == [() if paced else ("slowed",)] * 2


def test_the_summary_of_conditions() -> None:
    states = [{"frequency_khz": khz, "temperature_mc": mc, "foreign_gpu": gpu} for khz, mc, gpu in
              ((2_000_000, 40_000, 0), (1_900_000, 55_000, 2))]  # fmt: skip
    blocks = [[0, "model", [1], ["throttled"], 1_500_000, 60_000], [0, "calibration", [1], [], 1_800_000, 58_000]]
    found = conditions.summary([{"before": states[0], "after": states[1], "blocks": blocks}])
    assert found["frequency_mhz"] == [2000.0, 1500.0, 1900.0]
    assert found["temperature_c"] == [40.0, 60.0, 55.0]
    assert (found["disturbed_blocks"], found["reasons"]) == (1, {"throttled": 1})
    assert conditions.flags(found) == ("throttled", "foreign_gpu")
    reading = Reading(time_ns=0, pressure_us=0, steal_ticks=0, waited_ns=0, switches=0)
    assert conditions.state(reading, "cpu", "cuda", gpu_users=lambda: [1, 2, 2, 3], own=[3])["foreign_gpu"] == 2
    assert conditions.state(reading, "cuda-graph", gpu_users=lambda: [os.getpid()])["foreign_gpu"] == 0
    for users in ([1, 2], [], None):  # as in a container, where a GPU's processes have other numbers, or none
        assert conditions.state(reading, "cuda", gpu_users=lambda users=users: users)["foreign_gpu"] is None
    assert conditions.state(reading, "cpu", gpu_users=lambda: [1])["foreign_gpu"] is None


def test_the_steady_state_of_a_board_that_warms_up() -> None:
    times = [1.0, 1.0, 1.0, 1.1, 1.2, *[1.3] * 15]
    windows = [{"time_s": n + 1.0, "p50_ms": time, "reasons": []} for n, time in enumerate(times)]
    found = extras.steady(windows)
    assert found["steady_ms"] == 1.3
    assert found["slowdown"] == pytest.approx(1.3)
    assert found["steady_from_s"] == 5.0
    windows[10]["p50_ms"] = 9.0  # one disturbed second
    assert extras.steady(windows)["steady_from_s"] == 5.0
    assert np.isclose(extras.steady(windows[:3])["slowdown"], 1.0)
