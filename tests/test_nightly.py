"""``hwnas nightly`` from end to end: nights of a suite, what the store keeps of them, reports, kills, two at once."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from test_bisect import comparison
from test_measuring import check_schema

from benchmarks.figures import _nets
from benchmarks.nightly import baselines, judging, keeping, metrics, nights
from benchmarks.nightly import command as nightly_command
from benchmarks.nightly import night as nightly
from benchmarks.nightly import reports as nightly_reports
from benchmarks.nightly.baselines import Baselines
from benchmarks.nightly.judgements import Judgement
from benchmarks.nightly.nights import Night, ended, study_of
from benchmarks.nightly.watched import on_devices, setting_of
from devices import measure
from devices.bundle import calibration_digest
from devices.fleet import load_fleet
from devices.plan import Job
from devices.session import Session, connect
from profiles.errors import InputError, MeasurementError
from profiles.records import Target
from profiles.store import Store, clock_of

SUITE = """
name = "s"
targets = ["n"]
models = [{models}]
budget = "1s"
[metrics]
latency_ms = "90%"
peak_memory_mb = "5%"
model_size_mb = "1%"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory: a suite of two models on a null target whose calibration is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    Path("fleet.toml").write_text('[targets.n]\nengine = "null"\nprovider = "300us"\n')
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx", "b.onnx"'))
    for name in "ab":
        _nets.mlp(tmp_path / f"{name}.onnx")
    know_the_device(tmp_path, "n")
    yield tmp_path


def know_the_device(folder: Path, name: str) -> None:
    fleet = load_fleet(folder / "fleet.toml")
    target = fleet.target(name)
    with connect(fleet.device(target.device), target.device) as session, Store(folder / "hwnas.db") as store:
        clock = clock_of(session.fingerprint(target), target, calibration_digest())
        store.add_reference(clock, measure.calibrate(session, target, 1) * 20)


def night(**how: Any) -> int:
    usual: dict[str, Any] = {
        "fleet": Path("fleet.toml"), "python": None, "max_undecided": "20%", "markdown": None, "junit": None,
        "html": None, "json": True, "store": None,
    }  # fmt: skip
    return nightly_command.run(Path("suite.toml"), {}, **usual | how)


def verdicts(out: str) -> dict[str, str]:
    return {f"{one['model']} {one['metric']}": one["verdict"] for one in json.loads(out)["judgements"]}


def test_the_first_nights_of_a_suite(folder: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx"'))
    suite = Path("suite.toml")
    with pytest.raises(InputError, match=r"no baseline of s; its first night keeps one"):
        keeping.show(suite, {}, fleet=Path("fleet.toml"), store=None, json=False)
    # The first keeps a baseline.
    assert night() == 0
    out, err = capsys.readouterr()
    check_schema(json.loads(out), root / "docs/schema/nightly.json")
    assert set(verdicts(out).values()) == {"same", "new"}
    assert "no baseline yet: tonight's is kept (a.onnx)" in err
    keeping.show(suite, {}, fleet=Path("fleet.toml"), store=None, json=True)
    (kept,) = json.loads(capsys.readouterr().out)["baselines"]
    assert Path(kept["file"]).read_bytes() == Path("a.onnx").read_bytes()
    # The second finds the same file in the same environment.
    assert night(json=False) == 0
    out, err = capsys.readouterr()
    assert {line.split("\t")[-1] for line in out.splitlines()[1:]} == {"same"}
    assert "3 the same" in err
    # A new file is measured beside the kept one.
    _nets.stack(Path("a.onnx"), layers=1, channels=16, side=8)
    reports = {"markdown": Path("n.md"), "junit": Path("n.xml"), "html": Path("n.html")}
    assert night(**reports) == 1
    found = json.loads(capsys.readouterr().out)
    check_schema(found, root / "docs/schema/nightly.json")
    by_metric = {one["metric"]: one for one in found["judgements"]}
    assert by_metric["latency_ms"]["ratio"] == pytest.approx(1, rel=0.3)
    assert by_metric["peak_memory_mb"]["verdict"] == "same"
    assert (by_metric["model_size_mb"]["verdict"], by_metric["model_size_mb"]["confirmed"]) == ("regressed", True)
    assert "| a.onnx | n | model size |" in Path("n.md").read_text()
    assert ElementTree.parse("n.xml").find(".//testcase/failure") is not None
    assert "regressed, confirmed" in Path("n.html").read_text()
    with Store(folder / "hwnas.db") as store:
        assert len(store.profiles(study=study_of("s"))) == 3
        assert len(store.comparisons()) >= 1
        assert [one.code for one in ended(store.events(study_of("s")))] == [0, 0, 1]
    # Accepted, it is the baseline.
    with nightly_setting() as setting:
        keeping.keep(setting, [])
        with pytest.raises(InputError, match=r"--model: given 'c'; accepted: a.onnx"):
            keeping.keep(setting, ["c"])
    assert night() == 0
    assert "regressed" not in verdicts(capsys.readouterr().out).values()


def test_the_same_file_in_another_environment_is_not_a_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx"'))
    with Store(folder / "hwnas.db") as store:
        baselines = Baselines(store, study_of("s"), folder / "hwnas-kept")
        target = load_fleet(Path("fleet.toml")).target("n")
        baselines.keep(Job(model=Path("a.onnx"), name="a.onnx"), "n", target, {"versions": {"null": "0"}}, None)
    assert night(markdown=Path("n.md")) == 3
    out, err = capsys.readouterr()
    assert verdicts(out)["a.onnx latency_ms"] == "unjudged"
    assert verdicts(out)["a.onnx model_size_mb"] == "same"
    assert "versions.null 0 -> 1" in err
    assert "1 of 1 pairs have a judgement missing or undecided, more than 20 %" in err
    assert "hwnas baseline set accepts the new one" in Path("n.md").read_text()


def test_a_baseline_with_an_environment_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The interpreter of these tests under its own name: the same versions, and yet two resident processes."""
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx"').replace('peak_memory_mb = "5%"\n', ""))
    assert night(python=sys.executable) == 0
    out, _ = capsys.readouterr()
    assert {one["reason"] for one in json.loads(out)["judgements"]} == {"", "the same file in the same environment"}
    _nets.stack(Path("a.onnx"), layers=1, channels=1, side=4)
    assert night() == 0  # the baseline keeps its environment
    assert verdicts(capsys.readouterr().out)["a.onnx model_size_mb"] == "improved"
    with Store(folder / "hwnas.db") as store:
        (duet,) = store.comparisons()
    assert {arm for _, _, arm, _, _ in duet["blocks"]} == {"base", "other"}
    keeping.show(Path("suite.toml"), {}, fleet=Path("fleet.toml"), store=None, json=False)
    assert sys.executable in capsys.readouterr().out


def test_what_a_baseline_was_kept_in_is_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a figure: other settings, another version in the environment of its own, another kernel for both."""
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx"'))
    fleet = load_fleet(Path("fleet.toml"))
    target, effort = fleet.target("n"), metrics.Effort(budget_s=1)
    job = Job(model=Path("a.onnx"), name="a.onnx")
    with (
        nightly_setting() as setting,
        Store(setting.store) as store,
        connect(fleet.device(target.device), "local") as session,
    ):
        device = session.fingerprint(target)
        versions = device["versions"]

        def found(kept_on: Target, kept_in: dict[str, Any], python: str | None = None, kept: Job = job) -> Judgement:
            baselines = Baselines(store, setting.study, setting.folder)
            baselines.keep(kept, "n", kept_on, kept_in, python)
            (pair,) = setting.pairs(baselines)
            one, _ = judging.judge(session, pair, judging.ready(session, pair), "latency_ms", 0.02, effort)
            return one

        assert found(target, device).verdict == "same"
        settings = found(dataclasses.replace(target, threads=4), device)
        upgraded = found(target, device | {"versions": versions | {"null": "0"}}, sys.executable)
        kernel = found(target, device | {"kernel": "0"}, sys.executable)
        # Another file, as an upgrade of torch exports it: what the environment did to both is not in their ratio.
        old = Path("a.onnx").rename("old.onnx")
        _nets.stack(Path("a.onnx"), layers=1, channels=1, side=4)
        exported = found(target, device | {"kernel": "0"}, kept=dataclasses.replace(job, model=old))
        # A runtime of the baseline's own takes nothing from what both of them run on now.
        own = device | {"versions": versions | {"null": "0"}}
        monkeypatch.setattr(session, "fingerprint", lambda target: own if target.python else device)
        both = found(target, own | {"kernel": "0"}, "/opt/old/bin/python")
        alone = found(target, own, "/opt/old/bin/python", kept=dataclasses.replace(job, model=old))
    assert both.verdict == "unjudged" and "what it was kept in (kernel 0 -> " in both.reason
    assert "what it was kept in" not in alone.reason
    assert exported.verdict == "unjudged"
    assert "as the baseline's file; the environment is not the baseline's (kernel 0 -> " in exported.reason
    assert [one.verdict for one in (settings, upgraded, kernel)] == ["unjudged"] * 3
    assert "(threads 4 -> 1)" in settings.reason
    assert "what it was kept in (versions.null 0 -> 1): bring it back, or accept it" in upgraded.reason
    assert "(kernel 0 -> " in kernel.reason


def test_another_baseline_is_another_night(folder: Path) -> None:
    job = Job(model=Path("a.onnx"), name="a.onnx")
    with nightly_setting() as setting, Store(setting.store) as store:
        baselines = Baselines(store, setting.study, setting.folder)

        def begun() -> str:
            """An interrupted night."""
            plan = nightly._plan(setting, setting.pairs(baselines))
            with nights.night(store, setting.study, plan, setting.folder) as diary:
                assert diary.before_s >= 0
                return diary.night

        first = begun()
        baselines.keep(job, "n", setting.fleet.target("n"), {}, None, night=first)
        assert begun() == first  # a night that has kept its own goes on
        baselines.keep(job, "n", setting.fleet.target("n"), {}, None)
        second = begun()
        assert second != first
        assert begun() == second


def test_a_night_takes_as_long_as_since_it_began(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(folder / "hwnas.db") as store:
        hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        with monkeypatch.context() as then:
            then.setattr("profiles.store.utc_now", lambda: hour_ago)
            with nights.night(store, "nightly/s", "plan", folder) as diary:
                assert diary.before_s == 0
        with nights.night(store, "nightly/s", "plan", folder) as diary:
            assert diary.before_s == pytest.approx(3600, abs=60)


def test_a_night_of_another_user_or_of_yesterday_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if str(path).endswith(".lock") and not flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more, **options)

    with Store(folder / "hwnas.db") as store:

        def begun(plan: str) -> str:
            with nights.night(store, "nightly/s", plan, folder) as diary:
                return diary.night

        first = begun("theirs")
        with monkeypatch.context() as then:
            then.setattr(os, "open", refuse)
            assert begun("theirs") != first
        hours_ago = (datetime.now(UTC) - timedelta(hours=23.9)).isoformat()
        with monkeypatch.context() as then:
            then.setattr("profiles.store.utc_now", lambda: hours_ago)
            yesterday = begun("cron")
        assert begun("cron") != yesterday


def test_this_machine_is_measured_last_and_alone(folder: Path) -> None:
    with Path("fleet.toml").open("a") as file:
        file.write('[devices.far]\ntransport = "null"\n[targets.far]\ndevice = "far"\nengine = "null"\n')
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx"').replace('"n"', '"n", "far"'))
    began = threading.Event()

    def call(session: Session) -> bool:
        if session.name == "local":
            began.set()
        return began.wait(3)

    with nightly_setting() as setting, Store(setting.store) as store:
        pairs = setting.pairs(Baselines(store, setting.study, setting.folder))
        found = [(one.board, one.value) for one in on_devices(setting, [(pair, call) for pair in pairs])]
    assert found == [("far", False), ("local", True)]


def test_a_wrong_output_and_a_file_that_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the real runtime: the weights of a model that is meant to stay as it is are others, on the second night."""
    import onnx
    from onnx import numpy_helper

    models = '{model = "a.onnx", same_outputs = true}, "b.onnx"'
    text = SUITE.format(models=models).replace('"n"', '"r"').replace('peak_memory_mb = "5%"\n', "")
    Path("suite.toml").write_text(text)
    Path("fleet.toml").write_text("[targets.r]\n")
    know_the_device(folder, "r")
    assert night() == 0
    model = onnx.load("a.onnx")
    first = model.graph.initializer[0]
    first.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(first), first.name))
    onnx.save(model, "a.onnx")
    Path("b.onnx").unlink()
    capsys.readouterr()
    assert night() == 1
    out, err = capsys.readouterr()
    assert verdicts(out)["a.onnx output"] == "regressed"
    assert "a.onnx latency_ms" not in verdicts(out)
    assert verdicts(out)["b.onnx latency_ms"] == "unjudged"
    assert "output is wrong" in err
    assert "that of the baseline is right" in err
    assert "model b.onnx got no judgement" in err


@pytest.fixture
def no_room_for_a(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = baselines._copy

    def full(model: Path, place: Path) -> str:
        if model.name == "a.onnx":
            raise OSError(28, "No space left on device")
        return copy(model, place)

    monkeypatch.setattr(baselines, "_copy", full)


@pytest.mark.usefixtures("no_room_for_a")
def test_what_cannot_be_kept_as_a_baseline_does_not_end_the_night(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert night() == 3
    out, err = capsys.readouterr()
    assert verdicts(out)["a.onnx latency_ms"] == "unjudged" and verdicts(out)["b.onnx latency_ms"] == "new"
    assert "it cannot be kept as a baseline: [Errno 28] No space left on device" in err


@pytest.mark.usefixtures("no_room_for_a")
def test_what_cannot_be_kept_hides_neither_the_others_nor_what_is_wrong_with_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("suite.toml").write_text(SUITE.format(models='"a.onnx", "b.onnx", "gone.onnx"'))
    with nightly_setting() as setting, pytest.raises(InputError, match=r"^gone\.onnx on n: .*no such model file"):
        keeping.keep(setting, [])
    err = capsys.readouterr().err
    assert "hwnas: a.onnx on n: it cannot be kept as a baseline: [Errno 28] No space left on device" in err
    assert re.search(r"^b\.onnx on n: [0-9a-f]{12} is the baseline now$", err, re.MULTILINE)


def test_what_a_person_has_kept_meanwhile_stands(folder: Path) -> None:
    with setting_of(Path("suite.toml"), {}, fleet=Path("fleet.toml"), store=None) as setting, Store("b.db") as store:
        at_the_start = Baselines(store, "nightly/s", folder / "kept")
        target = setting.fleet.target("n")
        job = Job(model=folder / "a.onnx", name="a.onnx")
        Baselines(store, "nightly/s", folder / "kept").keep(job, "n", target, {"versions": {}}, "/old/python")
        found = at_the_start.keep(job, "n", target, {"versions": {}}, None, night="tonight")
        assert found.python == "/old/python" and len(store.events("nightly/s")) == 1


def test_energy_is_asked_of_targets_with_a_meter(folder: Path) -> None:
    suite = Path("suite.toml").read_text().replace('["n"]', '["n", "m"]').replace("peak_memory_mb", "energy_mj")
    Path("suite.toml").write_text(suite)
    meter = '[devices.m]\ntransport = "local"\n{}[targets.m]\ndevice = "m"\nengine = "null"\nprovider = "1us"\n'
    asked = []
    for line in ('meter = "rapl"\n', ""):
        Path("fleet.toml").write_text('[targets.n]\nengine = "null"\nprovider = "300us"\n' + meter.format(line))
        with (
            setting_of(Path("suite.toml"), {}, fleet=Path("fleet.toml"), store=None) as setting,
            Store("c.db") as store,
        ):
            pairs = setting.pairs(Baselines(store, "nightly/s", folder / "kept"))
            asked.append([pair.name for pair in pairs if "energy_mj" in setting.metrics(pair)])
    assert asked == [["m", "m"], ["n", "n", "m", "m"]]  # without any meter, the judgement says so


def test_a_killed_night_goes_on_and_two_at_once_do_no_harm(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cli", "nightly", "suite.toml", "--fleet", "fleet.toml", "--json"]
    root = Path(nightly_command.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    for line in killed.stderr:
        if "a.onnx on n: latency" in line:
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stderr.close()
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert sorted("going on with night" in err for _, err in outs) == [False, True]
    with Store(folder / "hwnas.db") as store:
        events = store.events(study_of("s"))
    nights = ended(events)
    assert len(nights) == 2
    for one in nights:
        assert {(j.model, j.metric) for j in one.judgements} == {
            (name, metric)
            for name in ("a.onnx", "b.onnx")
            for metric in ("output", "latency_ms", "peak_memory_mb", "model_size_mb")
        }
        own = [event.data["model"] for event in events if event.kind == "judged" and event.data["night"] == one.name]
        assert sorted(own) == ["a.onnx", "b.onnx"]
    assert list((folder / "hwnas-kept").glob("*.lock")) == []


def test_an_accuracy_is_that_of_both_files_on_the_data_of_their_search(tmp_path: Path) -> None:
    """Digits: a network that always says 3 against one that always says 7, whose shares are known."""
    from nas import data

    (tmp_path / "study.toml").write_text(
        'name = "d"\nspace = "mlp"\n[data]\nname = "digits"\n[budget]\ntrials = 1\n'
        '[[objective]]\nmetric = "val_accuracy"\ngoal = "max"\n[[objective]]\nmetric = "params"\ngoal = "min"\n'
    )
    target = load_fleet().target("local")
    three, seven = (Job(model=constant(tmp_path / f"{digit}.onnx", digit), name=str(digit)) for digit in (3, 7))
    floor = Judgement(model="m", target="local", metric="val_accuracy", verdict="new", floor=0.0)
    with connect(load_fleet().device("local"), "local") as session:
        effort = metrics.Effort(budget_s=1)
        work = metrics.Work(
            session=session, one=floor, arms=((three, target), (seven, target)), effort=effort, run=tmp_path
        )
        found, _ = metrics.accuracy(work)
        with pytest.raises(MeasurementError, match="no validation set"):
            metrics.accuracy(dataclasses.replace(work, run=None))
    labels = data.load("digits").y_val
    shares = [float((labels == digit).mean()) for digit in (3, 7)]
    assert [found.base, found.other] == pytest.approx(shares)
    assert found.verdict == ("regressed" if shares[1] < shares[0] else "improved" if shares[1] > shares[0] else "same")


def constant(path: Path, digit: int) -> Path:
    """Says ``digit`` to every image of 8 x 8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    says = numpy_helper.from_array(np.eye(10, dtype=np.float32)[digit], "says")
    nothing = numpy_helper.from_array(np.zeros((64, 10), dtype=np.float32), "nothing")
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", "nothing", "says"], ["output"]),
    ]
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "constant", [x], [y], [nothing, says])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_the_figures_of_both_files_agree_with_their_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where their medians say the contrary, here from 4 to 3 MB: the ratio is that of pairs, 2, 3/4 and 9/4."""
    one = Judgement(model="m", target="t", metric="peak_memory_mb", verdict="new", floor=0.05)
    memory = metrics._of_ratios(one, [1.0, 4.0, 4.0], [2.0, 3.0, 9.0])
    assert [memory.base, memory.other, memory.ratio] == pytest.approx([16 ** (1 / 3), 54 ** (1 / 3), 1.5])
    duet = dataclasses.replace(comparison("regressed", 1.1), base_ms=2.0, other_ms=1.9)
    monkeypatch.setattr("devices.duet.compare", lambda *_, **__: duet)
    session: Any = None
    arm = Job(model=Path("m.onnx"), name="m"), Target(name="t", device="local")
    work = metrics.Work(session=session, one=one, arms=(arm, arm), effort=metrics.Effort(budget_s=1), run=None)
    latency, _ = metrics.latency(work)
    assert [latency.base, latency.other, latency.ratio] == pytest.approx([2.0, 2.2, 1.1])


# Reports, of a night that was written out by hand


def example() -> Night:
    one = Judgement(
        model="a|b<img>", target="pi5", metric="latency_ms", verdict="regressed", floor=0.02, base=1.0, other=1.05,
        ratio=1.05, interval=(1.03, 1.07), p_value=1e-5, confirmed=True,
    )  # fmt: skip
    lost = Judgement(model="c", target="pi5", metric="energy_mj", verdict="unjudged", reason="no\x00 meter\n<x>")
    accuracy = dataclasses.replace(one, model="d", metric="val_accuracy", base=0.91, other=0.905, interval=None)
    device = {"cpu": "Arm", "cores": 4, "kernel": "6.1", "versions": {"onnxruntime": "1.32.0"}}
    return Night(
        name="20260101T000000Z-abcd",
        time="2026-01-01T00:00:00.000+00:00",
        code=1,
        reasons=("model c got no judgement",),
        judgements=(one, lost, accuracy),
        changed={("a|b<img>", "pi5"): ("versions.onnxruntime 1.31.0 -> 1.32.0",)},
        devices={"pi5": device},
        seconds=61.0,
    )


def test_markdown_says_what_where_how_much_and_what_differs() -> None:
    text = nightly_reports.markdown("tiny", example())
    assert text.startswith("## hwnas nightly, suite tiny: regression\n\n2 regressions, 1 not judged.")
    row = next(line for line in text.splitlines() if "img" in line)
    said = "latency | 1 ms | 1.05 ms | +5.00 % | +3.00 to +7.00 % | 2 % | regressed, confirmed"
    assert row == rf"| a\|b&lt;img&gt; | pi5 | {said} |"
    assert "-0.50 pp" in text
    assert "versions.onnxruntime 1.31.0 -&gt; 1.32.0" in text
    assert "**model c got no judgement.**" in text


def test_junit_is_xml_whatever_the_texts_are() -> None:
    suite = ElementTree.fromstring(nightly_reports.junit("tiny", example())).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "2", "errors": "1", "skipped": "0",
    }  # fmt: skip
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "latency: regressed, confirmed: 1 ms -> 1.05 ms, +5.00 % (+3.00 to +7.00 %)"
    assert failure.text == "versions.onnxruntime 1.31.0 -> 1.32.0"


def test_a_target_without_a_baseline_is_not_as_the_baselines() -> None:
    first, lost, _ = example().judgements
    new = dataclasses.replace(first, verdict="new", confirmed=False)
    right = dataclasses.replace(new, metric="output", verdict="same")
    night = dataclasses.replace(example(), judgements=(new, right, lost), changed={})
    assert "onnxruntime 1.32.0; no baseline yet\n" in nightly_reports.markdown("tiny", night)
    night = dataclasses.replace(night, judgements=(new, dataclasses.replace(new, model="e", verdict="same")))
    assert "onnxruntime 1.32.0; as the baseline's\n" in nightly_reports.markdown("tiny", night)


def test_what_a_device_does_not_say_is_left_out() -> None:
    assert nightly_reports.described({"cpu": "null", "cores": 1, "versions": {"null": "1"}}) == "null, 1 cores, null 1"
    assert nightly_reports.described({}) == ""


def test_pairs_whose_names_look_alike_have_addresses_of_their_own() -> None:
    from benchmarks.nightly.page import page

    first = example().judgements[0]
    alike = tuple(dataclasses.replace(first, model=name) for name in ("net_v1", "net-v1"))
    text = page("tiny", [dataclasses.replace(example(), judgements=alike)])
    found = re.findall(r'<figure id="([^"]+)"', text)
    assert len(found) == len(set(found)) == 2


def test_an_accuracy_is_drawn_in_points() -> None:
    from benchmarks.nightly.page import _dots

    accuracy = example().judgements[2]
    assert _dots("val_accuracy", [("2026-01-01T00:00:00", accuracy)], "circle")["y"] == pytest.approx([-0.5])


def test_reports_do_not_hide_each_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"--junit gone/n\.xml: there is no folder gone"):
        night(junit=Path("gone/n.xml"))
    one = example()

    def watch(*_: Any, **__: Any) -> tuple[Night, list[Night]]:
        Path("taken").mkdir()  # which is found out after the night alone
        return one, [one]

    monkeypatch.setattr(nightly_command, "watch", watch)
    reports = {"markdown": Path("taken"), "junit": Path("n.xml"), "html": Path("n.html")}
    assert night(**reports) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["exit_code"] == 1
    assert "hwnas: taken: Is a directory" in err
    assert Path("n.xml").exists()
    assert Path("n.html").exists()
    one = dataclasses.replace(one, code=0)
    with pytest.raises(InputError, match=r"--markdown taken: given what is no file"):
        night(**reports)
    Path("taken").rmdir()
    assert night(**reports) == 3
    Path("taken").rmdir()
    assert night(junit=Path("n.xml")) == 0


@pytest.mark.parametrize(("base", "other"), [(0.91, 0.908), (0.908, 0.91), (0.7, 0.698), (0.3, 0.302)])
def test_a_change_equal_to_the_floor_is_none(base: float, other: float) -> None:
    one = Judgement(model="m", target="t", metric="val_accuracy", verdict="new", floor=0.002)
    assert metrics._exact(one, base, other, worse=base - other).verdict == "same"
    further = other + (0.0001 if other > base else -0.0001)
    said = metrics._exact(one, base, further, worse=base - further).verdict
    assert said == ("improved" if other > base else "regressed")


def test_the_page_asks_nobody_and_escapes_texts() -> None:
    from benchmarks.nightly.page import page

    text = page("tiny", [example()])
    assert "default-src 'none'" in html.unescape(text)
    assert "<img>" not in text
    assert "a|b&lt;img&gt;" in text


def test_cron_mails_what_this_night_said(root: Path, tmp_path: Path) -> None:
    """The one line of the example, by a shell: where hwnas fails before it writes anything, and where it writes."""
    text = (root / "examples/nightly/crontab").read_text()
    (line,) = [line for line in text.splitlines() if line and not line.startswith("#")]
    minute, hour, *days, command = line.split(maxsplit=5)
    assert (minute, hour, days) == ("17", "1", ["*", "*", "*"])
    assert "%" not in command  # which cron takes for the end of the line
    for place in ("/srv/models", "/srv/www", "/var/lib/hwnas", "/opt/hwnas/bin"):
        (tmp_path / place[1:]).mkdir(parents=True)
        command = command.replace(place, str(tmp_path / place[1:]))
    state, hwnas = tmp_path / "var/lib/hwnas", tmp_path / "opt/hwnas/bin/hwnas"
    (state / "nightly.md").write_text("yesterday")

    def printed(script: str) -> str:
        hwnas.write_text(f"#!/bin/sh\n{script}\n")
        hwnas.chmod(0o755)
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout

    assert printed("echo a table; echo no device >&2; exit 3") == "no device\n"
    assert printed(f"echo slower >&2; echo summary > {state}/nightly.md; exit 1") == "slower\nsummary\n"
    assert printed("exit 0") == ""


def nightly_setting() -> Any:
    from benchmarks.nightly.watched import setting_of

    return setting_of(Path("suite.toml"), {}, fleet=Path("fleet.toml"), store=None)
