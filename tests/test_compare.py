"""``hwnas compare`` from end to end on null targets; what its table, CSV and page say of figures that are given."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_example import profile_of
from test_measuring import check_schema

from benchmarks import compare, measuring, sweeps
from benchmarks.compare import Output
from benchmarks.compare_page import _answer, page
from benchmarks.figures import _nets
from benchmarks.side_by_side import Side, names_of, ordered, rows_of, slower_when_narrower, write_csv
from benchmarks.sweeps import curves, told
from benchmarks.tables import folded
from devices import extras
from devices.duet import DuetPlan
from devices.fleet import load_fleet
from devices.plan import Plan
from profiles import apart
from profiles.errors import InputError, UnavailableError
from profiles.records import Profile, Target
from profiles.store import Store

FLEET = """
[devices.second]
transport = "local"
[targets.slow]
engine = "null"
provider = "600us"
[targets.fast]
engine = "null"
provider = "200us"
[targets.there]
device = "second"
engine = "null"
provider = "200us"
[targets.gone]
provider = "warp"
"""
HOW: dict[str, Any] = {"budget": "300ms", "floor": "5%", "interval_ms": None, "timeout": "1m", "fail_on": []}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    (tmp_path / "fleet.toml").write_text(FLEET)
    monkeypatch.setattr("profiles.store.REFERENCE_COUNT", 1)
    monkeypatch.setattr("devices.reference.REFERENCE_COUNT", 1)
    # Short blocks, few processes: what is looked at is not how exact they are.
    monkeypatch.setattr(compare, "PRECISE", Plan(processes=3, groups=2, block_ms=3.0, warm_up_ms=1.0, within=0.5))
    monkeypatch.setattr(compare, "DuetPlan", partial(DuetPlan, least=3, block_ms=3.0, warm_up_ms=1.0))
    yield tmp_path


def setting(folder: Path, *targets: str, models: int = 1) -> measuring.Setting:
    given = [str(_nets.mlp(folder / f"{number}.onnx")) for number in range(models)]
    return measuring.Setting.of(given, targets, folder / "fleet.toml", None, None, {}, None)


def test_one_model_on_several_targets_and_devices(folder: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(sort="latency_ms", json=True, csv=folder / "c.csv", html=folder / "c.html")
    # What fails does not hide what was measured.
    with pytest.raises(UnavailableError, match=r"^gone: provider warp is not in this onnxruntime"):
        compare.run(setting(folder, "fast", "slow", "gone", "there"), base="slow", output=output, **HOW)
    found = json.loads(capsys.readouterr().out)
    check_schema(found, root / "docs/schema/compare.json")
    check_schema({"schema": 1, "profiles": found["profiles"]}, root / "docs/schema/profile.json")
    by_target = {one["target"]: one for one in found["comparisons"]}
    assert {name: one["method"] for name, one in by_target.items()} == {"fast": "duet", "there": "profiles"}
    assert {name: one["false_alarm_rate"] for name, one in by_target.items()} == {"fast": 0.01, "there": None}
    for one in by_target.values():
        assert (one["base"], one["other"], one["base_target"]) == ("0.onnx", "0.onnx", "slow")
        assert one["ratio"] == pytest.approx(1 / 3, rel=0.2)
        assert one["verdict"] == "improved"
    with Store(folder / "hwnas.db") as store:
        assert len(store.comparisons()) == 2
        assert {one.target.name for one in store.profiles()} == {"slow", "fast", "there"}
    rows = list(csv.DictReader((folder / "c.csv").open()))
    assert [row["target"] for row in rows][-1] == "slow"  # best first
    assert {row["target"]: row["verdict"] for row in rows} == {"fast": "improved", "there": "improved", "slow": "base"}
    assert all(float(row["speed_up_low"]) <= float(row["speed_up"]) <= float(row["speed_up_high"]) for row in rows)
    assert "times as fast as slow" in (folder / "c.html").read_text()
    assert "gone: provider warp" in (folder / "c.html").read_text()
    code = compare.run(setting(folder, "slow", "fast", "gone"), output=Output(), **HOW | {"fail_on": ["improved"]})
    out, err = capsys.readouterr()
    assert code == 1  # a verdict comes before what failed, which is told
    assert "fast" in out
    assert "hwnas: gone: provider warp" in err
    with pytest.raises(UnavailableError, match=r"^gone: "):  # without its base there is no comparison, but a profile
        compare.run(setting(folder, "slow", "gone", "fast"), base="gone", output=Output(json=True), **HOW)
    found = json.loads(capsys.readouterr().out)
    assert ([one["target"] for one in found["profiles"]], found["comparisons"]) == (["slow", "fast"], [])
    with pytest.raises(UnavailableError, match=r"^gone: "):
        compare.run(setting(folder, "slow", "gone"), base="slow", output=Output(), **HOW)
    assert capsys.readouterr().out == ""


def test_several_models_and_a_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = HOW | {"fail_on": ["same", "undecided", "regressed", "improved"]}
    output = Output(html=folder / "c.html", csv=folder / "c.csv")
    assert compare.run(setting(folder, "fast", models=2), sweep=["batch=1,2"], output=output, **how) == 1
    out, err = capsys.readouterr()
    heads, *lines = [line.split("\t") for line in out.splitlines()]
    assert heads[:4] == ["model", "latency ms", "speed-up", "99 % interval"]
    sides = ["0.onnx on fast", "1.onnx on fast"]
    assert [line[0] for line in lines] == [*sides, *(f"{side}, batch 2" for side in sides)]
    assert [line[heads.index("verdict")] for line in lines][::2] == ["base", "-"]
    assert [row["batch"] for row in csv.DictReader((folder / "c.csv").open())] == ["1", "1", "2", "2"]
    assert "above 1 is faster" in err
    assert "0.onnx on fast: no knee" in err  # of two settings
    assert "no knee" in (folder / "c.html").read_text()


def test_a_file_that_cannot_be_written_does_not_hide_the_verdict(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmarks.side_by_side.write_text", full)
    output = Output(json=True, csv=folder / "c.csv", html=folder / "c.html")
    how = HOW | {"fail_on": ["improved"], "output": output}
    assert compare.run(setting(folder, "slow", "fast"), **how) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["comparisons"][0]["verdict"] == "improved"
    assert f"hwnas: {folder / 'c.csv'}: No space left on device" in err
    assert (folder / "c.html").exists()
    (folder / "c.html").unlink()
    monkeypatch.setattr(compare, "_show", full)
    assert compare.run(setting(folder, "slow", "fast"), **how) == 1
    assert "hwnas: stdout: No space left on device" in capsys.readouterr().err
    assert (folder / "c.html").exists()


@pytest.mark.parametrize(
    ("models", "targets", "how", "words"),
    [
        (1, ["slow"], {}, "given one MODEL on one target"),
        (1, ["slow", "fast"], {"base": "there"}, r"compare: --base: given 'there'; accepted: one of --target: slow"),
        (2, ["slow"], {"base": "slow"}, "--base slow: given several MODELs"),
        (1, ["slow", "fast"], {"output": Output(sort="speed")}, "accepted: latency_ms, speed_up, throughput_per_s"),
        (1, ["slow", "fast"], {"output": Output(html=Path("no/such/c.html"))}, "--html no/such/c.html: there is no"),
        (1, ["slow", "fast"], {"sweep": ["cores=2"]}, "--sweep: given 'cores=2'"),
        (1, ["slow", "fast"], {"sweep": ["batch=1", "batch=2"]}, "each once"),
        (1, ["slow", "fast"], {"sweep": ["batch=0"]}, "batch: given 0"),
    ],
)
def test_what_is_refused_before_anything_is_measured(
    folder: Path, models: int, targets: list[str], how: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare.run(setting(folder, *targets, models=models), **({"output": Output()} | HOW | how))
    assert not (folder / "hwnas.db").exists()


# Given figures


def given(name: str, latency_ms: float, **target: Any) -> Profile:
    low, high = 0.99 * latency_ms, 1.01 * latency_ms
    about = Target(name=name, **({"device": "local"} | target))
    return profile_of("net", latency_ms, np.random.default_rng(0), target=about, latency_ms_ci95=(low, high))


def sided(*profiles: Profile) -> list[Side]:
    """Against the first."""
    base, *others = profiles
    return [
        Side(profile=base, is_base=True),
        *(Side(profile=one, comparison=apart.compare(base, one)) for one in others),
    ]


FP32, INT8 = given("pc", 1.0), given("pc-int8", 1.5, precision="int8")


def test_a_narrower_precision_that_is_slower_is_said_plainly() -> None:
    said = ["net: int8 is slower than fp32: pc-int8 takes 1.5 times as long as pc"]
    assert slower_when_narrower(sided(FP32, INT8)) == said  # one is the base
    assert slower_when_narrower(sided(given("x", 9.0, engine="torch"), INT8, FP32)) == said  # neither is
    assert slower_when_narrower([Side(profile=INT8), Side(profile=FP32)]) == said  # no base at all
    faster = given("pc-int8", 0.7, precision="int8")
    unclear = given("pc-int8", 1.005, precision="int8")
    other = given("pc-int8", 1.5, precision="int8", threads=2)
    for one in (faster, unclear, other):
        assert slower_when_narrower(sided(FP32, one)) == slower_when_narrower([Side(profile=FP32), Side(profile=one)])
        assert slower_when_narrower(sided(FP32, one)) == []


def test_an_undecided_side_does_not_hide_one_that_is_faster() -> None:
    noisy, good = given("noisy", 0.7), given("good", 0.75)
    noisy = replace(noisy, latency_ms_sem=0.15, latency_ms_ci95=(0.45, 1.09))
    base, first, second = sided(FP32, noisy, good)
    assert [first.verdict, second.verdict] == ["undecided", "improved"]
    assert str(_answer([base, first, second])).startswith("good is shown to be 1.33 times as fast as pc (")
    assert str(_answer([base, second])).startswith("good is the fastest: 1.33 times as fast as pc (")
    assert _answer([base, first]) == "Nothing is shown to be faster than pc."


def test_speed_ups_over_different_bases_say_nothing_about_a_precision() -> None:
    """b is made twice as fast by int8, and a four times: against a, which is the base on each target, b falls back."""

    def named(model: str, one: Profile) -> Profile:
        return replace(one, model=model, digest=one.target.name + model)

    wide = sided(named("a", given("pc", 4.0)), named("b", given("pc", 4.0)))
    narrow = [given("pc-int8", ms, precision="int8") for ms in (1.0, 2.0)]
    assert slower_when_narrower([*wide, *sided(named("a", narrow[0]), named("b", narrow[1]))]) == []


def test_best_first_and_what_was_not_measured_last() -> None:
    a, b, c = (Side(profile=replace(given(name, ms), power_w=watts)) for name, ms, watts in
               (("a", 2.0, 3.0), ("b", 1.0, None), ("c", 3.0, 1.0)))  # fmt: skip
    assert names_of(ordered([a, b, c], "latency_ms")) == ["b", "a", "c"]
    assert names_of(ordered([a, b, c], "throughput_per_s")) == ["b", "a", "c"]
    assert names_of(ordered([a, b, c], "power_w")) == ["c", "a", "b"]
    assert names_of(ordered([a, b, c], None)) == ["a", "b", "c"]


def test_a_wide_table_goes_on_below_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    heads = ["target", "latency ms", "not measured", "interval", "per s", "an answer in words"]
    rows = [
        [f"pc-number-{n}", "1.234", "-", "1.11 to 2.22", "1234", "as long as half of the room that there is"]
        for n in range(3)
    ]
    folded(heads, rows)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("target" in line for line in lines) == 2
    assert not any("measured" in line for line in lines)
    assert all(sum(f"pc-number-{n}" in line for line in lines) == 2 for n in range(3))


def test_the_fallback_in_time() -> None:
    rows = ({"provider": "cuda", "share": 0.4}, {"provider": "cpu", "share": 0.5}, {"provider": "cpu", "share": 0.1})
    one = replace(FP32, target=replace(FP32.target, provider="cuda"), fallen_back={"a": "cpu"}, fallback_percent=66.0)
    assert extras.fallback_time(replace(one, operators=rows)) == {"fallback_time_percent": pytest.approx(60)}
    assert "--operators" in extras.fallback_time(one)["missing"]["fallback_time_percent"]
    assert extras.fallback_time(FP32) == {"fallback_time_percent": 0.0}
    fallen = replace(one, fallback_time_percent=60.0)
    assert rows_of([Side(profile=fallen)])[0][-1] == "66 (60 of time)"


def test_the_curve_of_a_sweep_and_its_knee() -> None:
    points = [(1, 1.0), (2, 1.2), (4, 2.0), (8, 7.9)]
    one = [given("pc", ms, batch=batch) for batch, ms in points]
    rates = (9e3, 1.0, 1.0, 9e3)  # of other minutes
    one = [replace(p, throughput_per_s=rate) for p, rate in zip(one, rates, strict=True)]
    (curve,) = curves(one[::-1])
    assert [p.target.batch for p in curve.points] == [1, 2, 4, 8]
    # Throughputs 1000, 1667, 2000, 1013: the last is beaten; of the others (1667, 1.2) lies below the line.
    assert curve.knee == 1
    assert told(curve) == "net on pc: the knee is at 1 thread, batch 2: 1667 per s at 1.2 ms"
    assert curves(one[:1]) == []


def test_the_page_of_a_comparison_asks_nobody_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    evil = given("</script><b>x", 2.0)
    sides = sided(FP32, INT8, evil)
    swept = [given("pc", ms, batch=batch, threads=threads) for batch, ms in ((2, 1.2), (4, 2.0)) for threads in (1, 2)]
    text = page("compare", sides, curves([FP32, *swept]), slower_when_narrower(sides), swept)
    plain = html.unescape(text)
    assert "net: int8 is slower than fp32" in plain
    assert "Nothing is shown to be faster than pc." in plain
    assert "default-src 'none'" in plain
    own = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert "<b>x" not in own and not re.search(r'(src|href)="(https?:)?//', own)
    assert "energy_mj" in own and "no meter" in own  # why there is none
    write_csv(sides, tmp_path / "c.csv")
    assert [row["target"] for row in csv.DictReader((tmp_path / "c.csv").open())] == ["pc", "pc-int8", "</script><b>x"]


def test_the_page_of_devices_that_say_little_and_of_names_that_look_alike() -> None:
    null = {"machine": "null", "cpu": "null", "cores": 1, "versions": {}}
    swept = [
        replace(given("pc", ms, batch=batch), model=model, device=null)
        for model in ("net_v1", "net-v1")
        for batch, ms in ((1, 1.0), (2, 1.2), (4, 2.0))
    ]
    text = page("profile", [Side(profile=one) for one in swept], curves(swept), [])
    addresses = re.findall(r'<figure id="(curve-[^"]+)"', text)
    assert len(addresses) == len(set(addresses)) == 2
    assert "null, 1 core<" in text


def test_a_sweep_keeps_what_else_was_asked_for(folder: Path) -> None:
    fleet = load_fleet(folder / "fleet.toml")
    target = fleet.target("slow", {"precision": "fp16", "max_fallback": 7.5})
    found = sweeps.swept(target, ["threads=1,2", "batch=3"], fleet)
    assert [(one.threads, one.batch, one.precision, one.max_fallback) for one in found] == [
        (1, 3, "fp16", 7.5),
        (2, 3, "fp16", 7.5),
    ]
