"""Study files: what is accepted, and that every error is one line that names file, key, given and accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.study import parameters_of
from nas.study_file import load_study, require_files, same_search, write_study
from profiles.errors import InputError

GOOD = """
name = "s"
space = "mlp"
[data]
name = "digits"
[budget]
trials = 4
[[objective]]
metric = "val_accuracy"
goal = "max"
[[objective]]
metric = "latency_ms@local"
goal = "min"
[[constraint]]
metric = "latency_ms@local"
max = "4x"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    return file


def test_the_shipped_studies_load() -> None:
    studies = sorted((Path(__file__).parent.parent / "studies").glob("*.toml"))
    assert studies
    for study in studies:
        assert load_study(study).name == study.stem


def test_defaults_and_targets(path: Path) -> None:
    study = load_study(path)
    assert study.targets == ["local"]
    assert (study.budget.parallel, study.confirm.seeds, study.search.generator) == (2, 3, "hwnas")
    assert [p["name"] for p in parameters_of(study)][:2] == ["hidden_size_1", "hidden_size_2"]


def test_a_percentile_asks_for_more_times(path: Path) -> None:
    assert not load_study(path).tails
    assert load_study(path, {"constraint.0.metric": "latency_ms.p90@local"}).tails


def test_a_study_comes_back_from_the_file_that_a_run_keeps(path: Path, tmp_path: Path) -> None:
    study = load_study(path, {"seed": "7", "data.name": "digits"})
    write_study(study, tmp_path / "kept.toml")
    assert load_study(tmp_path / "kept.toml") == study


def test_only_the_budget_may_grow_on_resume(path: Path) -> None:
    study = load_study(path)
    assert same_search(study, load_study(path, {"budget.trials": "8"})) == []
    assert same_search(study, load_study(path, {"budget.trials": "3"})) == ["budget.trials"]
    assert same_search(study, load_study(path, {"budget.parallel": "1", "budget.failures": "2"})) == []
    assert same_search(study, load_study(path, {"seed": "1"})) == ["seed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("trials = 4", "trials = -3"), ["budget.trials", "-3"]),
        (("trials = 4", "trials = 1e9"), ["budget.trials"]),
        (("trials = 4", "trails = 4"), ["budget.trails", "unknown key", "did you mean trials?"]),
        (("trials = 4", ""), ["budget", "trials, hours or both"]),
        (('space = "mlp"', 'space = "mlpp"'), ["space", "mlpp", "convnet"]),
        (('space = "mlp"', 'space = "no.such:thing"'), ["space", "no.such"]),
        (('space = "mlp"', 'space = "mlp@fp32,int8"'), ["space", "mlp@fp32,int8", "[quantise] precisions"]),
        (('space = "mlp"', 'space = "mlp@banana"'), ["space", "mlp@banana", "[quantise] precisions"]),
        (('"val_accuracy"', '"val accuracy"'), ["objective.0.metric", "val accuracy"]),
        (('"latency_ms@local"\ngoal', '"latency_ms"\ngoal'), ["objective.1.metric", "latency_ms@TARGET"]),
        (('"latency_ms@local"\ngoal', '"speed@local"\ngoal'), ["objective.1.metric", "speed@local"]),
        (('goal = "max"', 'goal = "up"'), ["objective.0.goal", "up"]),
        (('max = "4x"', 'max = "4 x"'), ["constraint.0.max", "4 x"]),
        (('max = "4x"', "max = nan"), ["constraint.0.max"]),
        (('metric = "latency_ms@local"\nmax', 'metric = "latency_ms_gpu"\nmax'), ["constraint.0", "multiples"]),
        (('max = "4x"', ""), ["constraint.0", "exactly one of max and min"]),
        (('name = "s"', 'name = "../s"'), ["name", "../s"]),
        (('name = "s"', "name = s"), ["not TOML"]),
        (('max = "4x"', 'max = 2.0\n[[constraint]]\nmetric = "latency_ms@local"\nmin = 3.0'), ["leave room"]),
        (
            ("[budget]", "[baseline]\nchoices = {hidden_size_1 = 7}\n[budget]"),
            ["baseline.choices", "hidden_size_1", "7"],
        ),
        (("[budget]", '[search]\ngenerator = "axx"\n[budget]'), ["search.generator", "axx"]),
        (("[budget]", "[search]\noptions = {x = 2024-01-01}\n[budget]"), ["search.options", "for x: texts, finite"]),
        (("[budget]", "[search]\noptions = {x = [1, nan]}\n[budget]"), ["search.options", "for x: texts, finite"]),
    ],
)
def test_an_error_is_one_line_that_names_file_and_key(path: Path, change: tuple[str, str], words: list[str]) -> None:
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    with pytest.raises(InputError) as caught:
        load_study(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("key", "name"), [("script", "absent.py"), ("table", "absent.csv")])
def test_a_study_is_read_without_the_files_that_only_a_search_needs(path: Path, key: str, name: str) -> None:
    path.write_text(GOOD.replace("[budget]", f'[train]\n{key} = "{name}"\n[budget]', 1))
    study = load_study(path)
    file = path.resolve().with_name(name)
    assert getattr(study.train, key) == str(file)
    with pytest.raises(InputError) as caught:
        require_files(study)
    assert str(caught.value) == f"train.{key}: given {str(file)!r}; accepted: a file; there is none at {file}"
    file.touch()
    require_files(study)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_study(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not TOML"):
        load_study(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("name", "key", "kept"),
    [("npz", "file", True), ("mnist", "dir", True), ("fashion_mnist", "dir", True), ("lab.sets:load", "file", False)],
)
def test_files_of_the_data_lie_beside_the_study(path: Path, name: str, key: str, kept: bool) -> None:
    study = load_study(path, {"data.name": name, f"data.{key}": "sub/x"})
    assert study.data.name == name
    assert study.data.options == {key: str(path.parent.resolve() / "sub" / "x") if kept else "sub/x"}
    elsewhere = load_study(path, {"data.name": name, f"data.{key}": "/data/x"})
    assert elsewhere.data.options == {key: "/data/x"}
    assert load_study(path, {"data.name": name}).data.options == {}


def test_the_home_of_nobody_is_a_name_like_any_other(path: Path) -> None:
    """It is missed where the file is looked for, in one line."""
    path.write_text(GOOD + '[baseline]\nonnx = "~no-such-user/m.onnx"\n')
    study = load_study(path)
    assert study.baseline is not None and study.baseline.onnx == str(path.parent.resolve() / "~no-such-user" / "m.onnx")
