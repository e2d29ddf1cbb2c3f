"""Suites: what a file may say, what it may not, and what is kept of the models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from report_example import BASELINE, STUDY, Example

from benchmarks.figures import _nets
from benchmarks.nightly.baselines import Baselines, differences, folder_of
from benchmarks.nightly.suite import entries, load_suite
from devices import onnxfile
from devices.plan import Job
from nas.spaces import digest
from profiles.errors import InputError, UnavailableError
from profiles.records import Target
from profiles.store import Store

LOCAL = Target(name="local", device="local")


def written(folder: Path, text: str) -> Path:
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def test_the_suite_that_is_shipped(root: Path) -> None:
    suite = load_suite(root / "suites/tiny.toml")
    assert suite.floors == {"latency_ms": 0.02, "peak_memory_mb": 0.05, "model_size_mb": 0.01}
    assert suite.budget_s == 30


def test_a_file(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "a.onnx")
    path = written(
        tmp_path,
        'name = "s"\nmodels = ["a.onnx", {model = "a.onnx", name = "b", same_outputs = true}, "gone.onnx"]\n'
        '[metrics]\nenergy_mj = "5%"\n',
    )
    suite = load_suite(path, {"metrics.latency_ms": "1.5%", "budget": "2m"})
    assert suite.floors == {"energy_mj": 0.05, "latency_ms": 0.015}
    a, b, gone = entries(suite, path, tmp_path)
    assert (a.name, a.same_outputs, a.error) == ("a.onnx", False, None)
    assert (b.name, b.same_outputs, b.job.name) == ("b", True, "b")
    assert "no such model file, nor a reference model 'gone.onnx'" in str(gone.error)


def test_a_first_size_is_the_batch_as_on_the_command_line(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "a.onnx")
    path = written(tmp_path, 'name = "s"\nmodels = [{model = "a.onnx", shapes = {input = [16, 8]}}, "b.onnx"]\n')
    a, b = entries(load_suite(path), path, tmp_path)
    assert (a.batch, a.job.shapes, b.batch) == (16, {"input": (1, 8)}, None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.toml").write_text("of a search")
    path = written(tmp_path, 'name = "s"\nmodels = [{model = "run", shapes = {input = [16, 8]}}]\n')
    with pytest.raises(InputError, match=r"run: given shapes or inputs; accepted: neither, for the folder of a search"):
        entries(load_suite(path), path, tmp_path)


def test_a_search_without_a_front_is_one_model_without_a_judgement(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "a.onnx")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.toml").write_text("of a search that has not begun")
    path = written(tmp_path, 'name = "s"\nmodels = ["run", "a.onnx"]\n[metrics]\nval_accuracy = "0.2pp"\n')
    run, a = entries(load_suite(path), path, tmp_path)
    assert (run.name, run.run, a.name, a.error) == ("run", tmp_path / "run", "a.onnx", None)
    assert "given a folder without study.toml and study.db" in str(run.error)
    path = written(tmp_path, 'name = "s"\nmodels = ["../runs/gone", "a.onnx"]\n[metrics]\nval_accuracy = "0.2pp"\n')
    gone, a = entries(load_suite(path), path, tmp_path)  # it may be one: the others are watched all the same
    assert (gone.name, a.error) == ("gone", None)
    assert "no such model file" in str(gone.error)


def test_a_member_of_a_front_is_named_after_its_network_too(tmp_path: Path) -> None:
    """The search was run anew: its trial 0 is another network."""
    names = []
    for folder, width in (("old", 64), ("new", 16)):
        example, choices = Example(tmp_path / folder / "digits", STUDY), BASELINE | {"width": width}
        example.start()
        example.propose(0, choices)
        metrics = {"latency_ms@local": 0.2}
        example.journal.append("profiled", 0, metrics=metrics, sems={"latency_ms@local": 0.001}, seconds=1.0)
        example.journal.append("training", 0, attempt=0)
        example.journal.append("completed", 0, metrics={"val_accuracy": 0.97}, train_s=1.0)
        example.close()
        front = tmp_path / folder / "digits" / "front"
        front.mkdir(exist_ok=True)
        _nets.mlp(front / "0.onnx")
        path = written(tmp_path, f'name = "s"\nmodels = ["{folder}/digits"]\n')
        (member,) = entries(load_suite(path), path, tmp_path)
        names.append(f"digits/0-{digest('convnet', choices)[:6]}")
        assert (member.name, member.job.name, member.error) == (names[-1], names[-1], None)
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = []", "name: missing"),
        ('name = "s"\nmodels = []', "models: given []; accepted:"),
        ('name = "a/b"\nmodels = ["x"]', "name: given 'a/b'; accepted: up to 64 letters"),
        ('name = "s"\nmodels = ["x"]\nmodel = "y"', "model: unknown key, did you mean models?"),
        ('name = "s"\nmodels = ["x"]\ntargets = ["a", "a"]', "accepted: each target once"),
        ('name = "s"\nmodels = ["x"]\nbudget = "30"', "budget: given '30'; accepted: a time above 0"),
        ('name = "s"\nmodels = ["x"]\n[metrics]\nspeed = "1%"', "accepted: latency_ms, energy_mj, peak_memory_mb"),
        ('name = "s"\nmodels = ["x"]\n[metrics]\nlatency_ms = "2"', "for latency_ms, a percentage from 0%"),
        (
            'name = "s"\nmodels = ["x"]\n[metrics]\nval_accuracy = "1%"',
            'percentage points from 0 to 100, such as "0.2pp"',
        ),
    ],
)
def test_what_is_not_accepted(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as found:
        load_suite(written(tmp_path, text))
    assert message in str(found.value)
    assert str(found.value).startswith(str(tmp_path / "suite.toml"))


def test_an_accuracy_needs_a_search_and_a_name_is_given_once(tmp_path: Path) -> None:
    _nets.mlp(tmp_path / "a.onnx")
    path = written(tmp_path, 'name = "s"\nmodels = ["a.onnx"]\n[metrics]\nval_accuracy = "0.2pp"\n')
    with pytest.raises(InputError, match="accepted: in a suite with the folder of a search"):
        entries(load_suite(path), path, tmp_path)
    path = written(tmp_path, 'name = "s"\nmodels = ["a.onnx", "a.onnx"]\n')
    with pytest.raises(InputError, match=r"given 'a.onnx' more than once; accepted: models with names of their own"):
        entries(load_suite(path), path, tmp_path)


def test_what_is_kept_is_a_copy_and_the_last_one_counts(tmp_path: Path) -> None:
    model = _nets.mlp(tmp_path / "a.onnx")
    job = Job(model=model, name="a", shapes={"input": (1, 16)})
    with Store(tmp_path / "hwnas.db") as store:
        baselines = Baselines(store, "nightly/s", tmp_path / "kept")
        assert baselines.of("a", "local") is None
        first = baselines.keep(job, "local", LOCAL, {"cpu": "x"}, None)
        _nets.stack(model, layers=1, channels=4, side=4)
        second = baselines.keep(job, "local", LOCAL, {"cpu": "y"}, "/old/python")
        again = Baselines(store, "nightly/s", tmp_path / "kept")
    assert again.of("a", "local") == second
    assert (second.device, second.python) == ({"cpu": "y"}, "/old/python")
    assert first.digest != second.digest == onnxfile.digest(model)
    model.unlink()
    ready = second.job(job)
    assert (ready.name, ready.model, ready.shapes) == ("a (baseline)", second.file, job.shapes)
    second.file.write_bytes(first.file.read_bytes())
    with pytest.raises(UnavailableError, match="the kept file is missing or damaged"):
        second.job(job)
    _nets.stack(model, layers=1, channels=4, side=4)
    with Store(tmp_path / "hwnas.db") as store:  # what the message says mends it
        Baselines(store, "nightly/s", tmp_path / "kept").keep(job, "local", LOCAL, {}, None)
    assert second.job(job).model == second.file
    assert sorted(one.name for one in (tmp_path / "kept").iterdir()) == sorted([first.digest, second.digest])


def test_kept_files_lie_beside_the_store(tmp_path: Path) -> None:
    for store in (tmp_path / "hwnas.db", f"sqlite:///{tmp_path}/hwnas.db"):
        assert folder_of(store, Path("fleets/fleet.toml")) == tmp_path / "hwnas-kept"
    assert folder_of("postgresql://db/hwnas", Path("fleets/fleet.toml")) == Path("fleets/hwnas-kept")
    assert folder_of("postgresql://db/hwnas", None) == Path("hwnas-kept")


def test_weights_beside_the_file_are_kept_too(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(_nets.mlp(tmp_path / "whole.onnx"))
    path = tmp_path / "split" / "a.onnx"
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with Store(tmp_path / "hwnas.db") as store:
        baselines = Baselines(store, "nightly/s", tmp_path / "kept")
        kept = baselines.keep(Job(model=path, name="a"), "local", LOCAL, {}, None)
    assert [weights.name for weights in onnxfile.external_files(kept.file)] == ["weights.bin"]
    assert onnxfile.digest(kept.file) == kept.digest
    assert sorted(place.name for place in (tmp_path / "kept").iterdir()) == [kept.digest]


def test_settings_of_the_target_and_the_origin_are_kept(tmp_path: Path) -> None:
    model, program = _nets.mlp(tmp_path / "a.onnx"), tmp_path / "a.pt2"
    program.write_bytes(b"a program")
    job = Job(model=model, name="a", reference_model=program)
    with Store(tmp_path / "hwnas.db") as store:
        baselines = Baselines(store, "nightly/s", tmp_path / "kept")
        kept = baselines.keep(job, "local", LOCAL, {"kernel": "1"}, None)
        (event,) = store.events("nightly/s")
        old = {key: value for key, value in event.data.items() if key not in ("settings", "origin_suffix", "night")}
        store.append("nightly/old", "baseline", None, old)
        before = Baselines(store, "nightly/old", tmp_path / "kept").of("a", "local")
    assert kept.origin is not None
    assert kept.origin.read_bytes() == b"a program"
    other = dataclasses.replace(LOCAL, threads=4, provider="cuda", device="elsewhere")
    assert kept.changes({"kernel": "1"}, LOCAL) == []
    assert kept.changes({"kernel": "2"}, other) == ["kernel 1 -> 2", "provider cpu -> cuda", "threads 1 -> 4"]
    assert before is not None
    assert before.changes({"kernel": "2"}, other) == ["kernel 1 -> 2"]  # which had no settings


def test_a_copy_that_fails_is_no_baseline(tmp_path: Path) -> None:
    model = _nets.mlp(tmp_path / "a.onnx")
    (tmp_path / "kept").write_text("in the way")
    with Store(tmp_path / "hwnas.db") as store:
        baselines = Baselines(store, "nightly/s", tmp_path / "kept")
        with pytest.raises(OSError, match="exists"):
            baselines.keep(Job(model=model, name="a"), "local", LOCAL, {}, None)
        assert store.events("nightly/s") == []


def test_how_environments_differ() -> None:
    before = {"cpu": "x", "versions": {"onnxruntime": "1.31.0", "numpy": "2"}}
    now = {"cpu": "x", "versions": {"onnxruntime": "1.32.0", "numpy": "2"}, "governor": "performance"}
    assert differences(before, now) == ["governor - -> performance", "versions.onnxruntime 1.31.0 -> 1.32.0"]
    assert differences(now, now) == []
