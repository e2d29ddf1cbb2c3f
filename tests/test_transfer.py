"""What other devices and earlier studies tell a new search: which figures, and what the generator makes of them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_example import BASELINE, STUDY, Example, write_example

from benchmarks.figures import transfer
from devices.fleet import load_fleet
from nas import checks
from nas.begin import spec_of
from nas.beliefs import Belief
from nas.data import load
from nas.folder import RunFolder
from nas.generate import AskTell, parse
from nas.generators import Observation, Trained
from nas.improvement import Believed
from nas.measured import read_known
from nas.plan import Plan
from nas.run import run_study
from nas.spaces import Choice, convnet
from nas.study_file import load_study, same_search, write_study
from nas.trained import moved, recalled, spared
from nas.transfer import keep, transferred
from profiles.errors import InputError, UnavailableError

EVERY = [{"a": a, "b": b} for a in range(6) for b in range(6)]
GRID: dict[str, Any] = {
    "parameters": [{"name": name, "values": list(range(6)), "ordered": True} for name in ("a", "b")],
    "objectives": [
        {"name": "acc", "goal": "max", "threshold": 0.1},
        {"name": "ms", "goal": "min", "threshold": 20.0},
    ],
    "initial": 8,
}
KNOWN = [
    {"metric": "acc", "choices": EVERY, "values": [0.3 + one["a"] / 10 for one in EVERY]},
    {"metric": "ms", "choices": EVERY, "values": [1.0 + one["b"] for one in EVERY]},
]


def after_two(spec: dict[str, Any], slower: float) -> dict[str, Any]:
    """The third proposal, on a device that is slower by that factor than the one whose figures are known."""
    search = AskTell(GRID | spec, seed=0)
    for config in search.ask(2):
        assert config != {"a": 5, "b": 0}
        search.tell([{"config": config, "values": {"acc": 0.3 + config["a"] / 10, "ms": slower * (1 + config["b"])}}])
    (found,) = search.ask(1)
    return found


def test_a_new_device_begins_where_another_one_ended() -> None:
    """The best in both is proposed as soon as there is a model, which takes two trials of its own."""
    assert after_two({"transfer": KNOWN}, slower=3.0) == {"a": 5, "b": 0}


def test_with_a_metric_that_nothing_tells_of_the_search_begins_as_ever() -> None:
    assert after_two({"transfer": KNOWN[:1]}, slower=1.0) == after_two({}, slower=1.0)


TRAINED = [{"choices": {"a": a, "b": 1}, "values": {"acc": 0.3 + a / 10}} for a in range(6)]


def test_what_was_trained_before_comes_first_where_it_promises_about_as_much() -> None:
    assert after_two({"transfer": KNOWN, "trained": TRAINED}, slower=3.0) == {"a": 5, "b": 1}
    assert after_two({"transfer": KNOWN, "trained": TRAINED[:1]}, slower=3.0) == {"a": 5, "b": 0}


def test_until_there_is_a_model_too_but_for_half_of_the_random_phase() -> None:
    """Trainings take long: much is asked for before the first one has ended."""
    trained = [one["choices"] for one in TRAINED]
    found = AskTell(GRID | {"transfer": KNOWN, "trained": TRAINED}, seed=0).ask(4)
    assert [one in trained for one in found] == [True, False, True, True]
    found = AskTell(GRID | {"trained": TRAINED}, seed=0).ask(10)
    assert sum(one in trained for one in found[4:8]) < 4 and found[8] in trained and found[9] in trained


def test_a_limit_counts_more_than_a_training_that_is_spared() -> None:
    """Two were measured and break it, so nothing was trained yet."""
    search = AskTell(GRID | {"constraints": [{"name": "ms", "op": "<=", "bound": 3.0}], "trained": TRAINED[:2]}, seed=0)
    for config in search.ask(8):
        search.tell([{"config": config, "values": {"ms": 1.0 + config["a"]}}])
    (found,) = search.ask(1)
    assert found["a"] <= 2


def believed(log: bool, sd: float = 0.25) -> Believed:
    return Believed(np.full(3, 0.25), np.full(3, sd), log)


def test_a_metric_of_an_earlier_training_is_believed_nearly_as_it_was() -> None:
    trained = {"one": Trained(choices={}, values={"acc": 0.5}), "three": Trained(choices={}, values={"acc": 0.0})}
    keys = ["one", "two", "three"]
    plain = recalled(believed(log=False), "acc", keys, trained, [])
    assert [*plain.mean, *plain.sd] == pytest.approx([0.5, 0.25, 0.0, 0.025, 0.25, 0.025])
    logs = recalled(believed(log=True), "acc", keys, trained, [])
    assert [*logs.mean, *logs.sd] == pytest.approx([np.log(0.5), 0.25, 0.25, 0.025, 0.25, 0.25])
    other = recalled(believed(log=False), "ms", keys, trained, [])
    assert [*other.mean, *other.sd] == [0.25] * 6
    assert spared(keys, trained) == pytest.approx([np.log(20**0.5), 0.0, np.log(20**0.5)])


def test_a_metric_that_is_another_one_here_is_moved_by_what_others_moved() -> None:
    """In int8 all are 0.3 less accurate, more or less."""
    trained = {name: Trained(choices={}, values={"acc": 0.9}) for name in ("a", "b", "c", "d")}
    own = {
        name: Observation(choices={}, status="done", values=values)
        for name, values in {
            "a": {"acc": 0.6},
            "b": {"acc": 0.55},
            "c": {"acc": 0.6},
            "e": {"acc": 1.0},
            "d": {},
        }.items()
    }
    moves = moved("acc", False, own, trained)
    assert moves == pytest.approx([-0.3, -0.35, -0.3])
    found = recalled(believed(log=False), "acc", ["d", "e", "a"], trained, moves)
    assert found.mean[0] == pytest.approx(0.6) and found.sd[0] == pytest.approx(np.std(moves) + 0.0014, abs=0.002)
    assert moved("acc", True, own, trained) == pytest.approx(np.log([0.6 / 0.9, 0.55 / 0.9, 0.6 / 0.9]))
    assert moved("ms", False, own, trained) == []


def test_what_was_transferred_is_not_trusted_blindly() -> None:
    """It moves the mean; the interval is wider than the model alone would have it, less so with each own figure."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    values = 1.0 + x @ [1.0, 2.0]
    beside = np.column_stack([x, (np.log(values) - np.log(values).mean()) / np.log(values).std()])
    ratios = []
    for n in (4, 30):
        belief = Belief("min", [0, 1], 0, 1)
        belief.tell(beside[:n], values[:n], None)
        mean, sd = belief.predict(beside[30:], beside[:0])
        alone = belief._surrogate(False).predict(beside[30:])[1]
        assert np.corrcoef(mean, np.log(values[30:]))[0, 1] > 0.99
        ratios.append(float((sd / alone).mean()))
    assert ratios == pytest.approx([(1 + 10 / 4) ** 0.5, (1 + 10 / 30) ** 0.5])


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "old"
    write_example(path)
    return path


def study_of(folder: Path, runs: list[str], **changes: str) -> Any:
    text = STUDY.replace("[search]", f"[search]\ntransfer = {json.dumps(runs)}")
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "s.toml").write_text(text)
    return load_study(folder / "s.toml")


def test_figures_of_other_targets_are_those_of_the_same_metric(example: Path, tmp_path: Path) -> None:
    study, folder = study_of(tmp_path, [str(example)], local="pi5"), RunFolder(tmp_path / "new")
    found = transferred(study, folder, None)["transfer"]
    assert [(one["metric"], one["from"].rpartition(": ")[2]) for one in found] == [
        ("val_accuracy", "val_accuracy"),
        ("latency_ms@pi5", "latency_ms@local"),
    ]
    assert [len(one["choices"]) for one in found] == [len(one["values"]) for one in found]
    assert len(found[1]["values"]) == 24 > len(found[0]["values"]) >= 10


def test_what_no_device_changes_is_one_source_over_runs_that_trained_alike(example: Path, tmp_path: Path) -> None:
    for name in ("again", "longer"):
        shutil.copytree(example, tmp_path / name)
    longer = re.sub(r"^epochs = .*$", "epochs = 77", (example / "study.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "longer" / "study.toml").write_text(longer)

    def accuracies(*runs: Path) -> list[dict[str, Any]]:
        found = transferred(study_of(tmp_path, [str(run) for run in runs]), RunFolder(tmp_path / "new"), None)
        return [one for one in found["transfer"] if one["metric"] == "val_accuracy"]

    (alone,) = accuracies(example)
    (both,) = accuracies(example, tmp_path / "again")
    assert (both["choices"], both["values"]) == (alone["choices"], alone["values"])  # equal networks, each once
    assert both["from"].count("val_accuracy") == 2
    assert len(accuracies(example, tmp_path / "longer")) == 2
    found = transferred(study_of(tmp_path, [str(example), str(tmp_path / "again")]), RunFolder(tmp_path / "new"), None)
    assert [one["metric"] for one in found["transfer"]].count("latency_ms@local") == 2  # of what may be two devices


def test_what_was_transferred_stays_what_it_was_and_reaches_the_generator(example: Path, tmp_path: Path) -> None:
    shutil.copytree(example, tmp_path / "old")
    study, folder = study_of(tmp_path, ["old"]), RunFolder(tmp_path / "new")
    first = transferred(study, folder, None)
    first["trained"] = [{"choices": BASELINE, "values": {"val_accuracy": 0.9}}]
    keep(first, folder)
    write_study(study, folder.study)
    plan = Plan(study=study, folder=folder, objectives=(), limits=())
    spec = parse(spec_of(study, plan, load("digits")))
    assert [one.metric for one in spec.transfer] == ["val_accuracy", "latency_ms@local"]
    assert list(spec.transfer[1].values) == list(first["transfer"][1]["values"])
    assert [(one.choices, one.values) for one in spec.trained] == [(BASELINE, {"val_accuracy": 0.9})]
    shutil.rmtree(tmp_path / "old")
    assert transferred(study, folder, None) == json.loads(json.dumps(first))
    folder.transfer.write_text(json.dumps({"schema": 1, "transfer": first["transfer"]}))  # as hwnas once kept it
    assert transferred(study, folder, None) == json.loads(json.dumps(first | {"trained": []}))
    assert same_search(study, load_study(tmp_path / "s.toml")) == []


def test_a_search_that_could_not_begin_leaves_nothing_of_what_it_was_told(example: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new")
    study = study_of(tmp_path, [str(example)])
    store = "sqlite:////proc/none/study.db"
    with pytest.raises(UnavailableError):
        run_study(study, out=folder.path, fleet=load_fleet(), store=store)
    assert not folder.transfer.exists() and not folder.study.exists()
    folder.transfer.write_text('{"schema": 1, "transfer": [{"from": "a search that ended between the two files"}]}')
    assert {one["from"] for one in transferred(study, folder, None)["transfer"]} == {
        f"{example}: {metric}" for metric in ("val_accuracy", "latency_ms@local")
    }


def test_runs_that_tell_nothing_are_bad_input(example: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new")
    with pytest.raises(InputError, match="none: given a folder without study"):
        transferred(study_of(tmp_path, ["none"]), folder, None)
    with pytest.raises(InputError, match="given networks of convnet; accepted: of mlp"):
        transferred(study_of(tmp_path, [str(example)], convnet="mlp"), folder, None)
    other = {"val_accuracy": "energy_mj@pi5", "latency_ms@local": "power_w@pi5", '"4x"': "4"}
    with pytest.raises(InputError, match="given fewer than 10 figures of each of energy_mj@pi5, power_w@pi5, or"):
        transferred(study_of(tmp_path, [str(example)], **other), folder, None)
    young = Example(tmp_path / "young")
    young.start()
    young.close()
    with pytest.raises(InputError, match="given fewer than 10 figures"):
        transferred(study_of(tmp_path, ["young"]), folder, None)
    checks.transfer(study_of(tmp_path, []))
    with pytest.raises(InputError, match="accepted: none with the generator sobol"):
        checks.transfer(study_of(tmp_path, ["none"], initial_trials="generator = 'sobol'\ninitial_trials"))


OWN = SimpleNamespace(parameters=convnet.parameters, build=convnet.build)
LESS = (Choice("width", (128, 256), ordered=True), *convnet.parameters[1:])
MORE = (*convnet.parameters, Choice("dropout", (0.0, 0.5)))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [(LESS, "width: given 64; accepted: one of 128, 256"), (MORE, "dropout: missing; accepted: one of 0.0, 0.5")],
)
def test_a_run_of_a_space_that_has_changed_since_is_bad_input(
    parameters: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Example(tmp_path / "old", STUDY.replace('"convnet"', f'"{__name__}:OWN"'))
    old.start()
    for index in range(12):
        old.propose(index, BASELINE | {"depth_1": 1 + index % 4, "depth_2": 1 + index // 4})
        old.measure(index)
    old.close()
    study = study_of(tmp_path, ["old"], convnet=f"{__name__}:OWN")
    assert len(transferred(study, RunFolder(tmp_path / "new"), None)["transfer"][0]["values"]) == 12
    monkeypatch.setattr(OWN, "parameters", parameters)
    given = f"old: given a network that is none of the space {__name__}:OWN as it is now: choices: {told}"
    with pytest.raises(InputError, match=given):
        transferred(study, RunFolder(tmp_path / "newer"), None)
    with pytest.raises(InputError, match=given):
        read_known([tmp_path / "old"], "latency_ms", "local")


def test_the_page_names_the_seeds_that_both_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_DOCS", tmp_path)
    monkeypatch.setattr(transfer, "_LINES", tmp_path / "results-transfer.jsonl")
    assert "| c10-a50 | c10-2080ti | - | - | - | - | - | - | - | - | - | - |" in transfer.take(minutes=-1)
    one = {"problem": "c10-a50", "method": "hwnas"}
    for name, curves in (("search", {0: 0.25, 1: 0.5, 2: 0.75}), ("transfer", {0: 0.5, 2: 1.0, 3: 0.0})):
        lines = [
            json.dumps(one | {"seed": seed, "curve": [value] * 20, "trainings": 10 * seed})
            for seed, value in curves.items()
        ]
        (tmp_path / f"results-{name}.jsonl").write_text("\n".join(lines))
    assert "| c10-a50 | c10-2080ti | 0, 2 |" + " 0.500 | 0.750 |" * 4 + " 10 |" in transfer.take(minutes=-1)
