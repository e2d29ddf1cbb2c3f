"""Which training is the same as one that was done before, and what is brought of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_example import write_example
from test_steps import CHOICES, Bench, candidates_of

from nas.account import Account
from nas.data import Dataset
from nas.earlier import (
    EARLIER,
    Earlier,
    bring,
    digest_of_data,
    digest_of_script,
    digest_of_space,
    identity,
    trained_before,
)
from nas.jobs import Jobs, Key
from nas.launcher import Launcher
from nas.precision import PRECISION
from nas.results import read_results
from nas.spaces import find_space
from nas.study import Quantise

RESULT = {
    "schema": 1, "exit_code": 0, "signal": None, "cancelled": False, "wall_s": 60.0, "cpu_s": 50.0, "last_lines": "",
}  # fmt: skip


def trial(folder: Path, training: str | None = "t", untrained: bytes = b"network", **result: Any) -> Path:
    """A trial's folder whose training has ended."""
    job = folder / "job"
    (job / "tb").mkdir(parents=True)
    (folder / "candidate.json").write_text(json.dumps({"schema": 1, "training": training}))
    (folder / "untrained.onnx").write_bytes(untrained)
    (job / "weights.pt").write_bytes(b"weights")
    (job / "metrics.json").write_text('{"val_accuracy": 0.9}')
    (job / "tb" / "events.out.tfevents.1").write_bytes(b"curve")
    for name in ("job.json", "ticket", "checkpoint.bin"):
        (job / name).write_text("of then")
    (job / "result.json").write_text(json.dumps(RESULT | result))
    return folder


def wanted(folder: Path, training: str | None = "t", untrained: bytes = b"network") -> Path:
    """A candidate that is about to be trained."""
    shutil.rmtree(trial(folder, training, untrained) / "job")
    return folder / "candidate.json"


def test_what_was_trained_before_is_taken_for_a_job_that_has_ended(tmp_path: Path) -> None:
    done = trial(tmp_path / "run" / "trials" / "7")
    candidate, out = wanted(tmp_path / "new" / "trials" / "0"), tmp_path / "new" / "trials" / "0" / "job"
    found = Earlier([str(tmp_path / "gone"), str(tmp_path / "run")]).find(candidate)
    assert found == done / "job" and bring(found, out)
    kept = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    named = {"earlier.json", "handle", "weights.pt", "metrics.json", "result.json"}
    assert kept == named | {"tb/events.out.tfevents.1"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["candidate.json", "job", "untrained.onnx"]
    launcher = Launcher()
    jobs = Jobs(launcher, parallel=1, timeout_s=9.0, script=None, account=Account())
    jobs.start(Key(trial=0), candidate, out)
    ((key, outcome),) = jobs.ended()
    assert (key.trial, outcome.metrics, outcome.wall_s) == (0, {"val_accuracy": 0.9}, 60.0)
    assert launcher.word(EARLIER + str(found)) is None  # no scheduler is asked about it
    # And from here on to a third one, which says where it was really done.
    third = wanted(tmp_path / "third" / "trials" / "1")
    again = Earlier([str(tmp_path / "new")]).find(third)
    assert again == out and bring(again, third.with_name("job"))
    assert json.loads((third.with_name("job") / "earlier.json").read_text())["from"] == str(done / "job")


def test_what_cannot_be_read_any_more_leaves_nothing_behind(tmp_path: Path) -> None:
    done = trial(tmp_path / "run" / "trials" / "7")
    out = wanted(tmp_path / "new" / "trials" / "0").with_name("job")
    (done / "job" / "tb" / "events.out.tfevents.2").symlink_to("/proc/self/mem")  # read, it fails
    assert not bring(done / "job", out)
    assert sorted(path.name for path in out.parent.iterdir()) == ["candidate.json", "untrained.onnx"]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: trial(folder, training="another"),
        lambda folder: trial(folder, training=None),
        lambda folder: trial(folder, untrained=b"another network, or other first weights"),
        lambda folder: trial(folder, exit_code=1),
        lambda folder: trial(folder, exit_code=None, signal="SIGKILL"),
        lambda folder: (trial(folder) / "job" / "weights.pt").unlink(),
        lambda folder: (trial(folder) / "job" / "result.json").unlink(),
        lambda folder: (trial(folder) / "job" / "metrics.json").write_text("{"),
        lambda folder: (trial(folder) / "untrained.onnx").unlink(),
        lambda folder: (trial(folder) / "candidate.json").write_text("[]"),
        lambda folder: (trial(folder) / "candidate.json").write_text('{"training": ["t"]}'),
    ],
)
def test_another_training_or_one_that_came_to_nothing_is_none(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "run" / "trials" / "7")
    candidate = wanted(tmp_path / "new" / "trials" / "0")
    assert Earlier([str(tmp_path / "run")]).find(candidate) is None


def test_a_job_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    trial(tmp_path / "run" / "trials" / "7")
    other = trial(tmp_path / "new" / "trials" / "0", exit_code=1)
    assert bring(tmp_path / "run" / "trials" / "7" / "job", other / "job")
    assert (other / "job" / "job.json").exists()


def test_trainings_that_confirmed_a_front_count_too(tmp_path: Path) -> None:
    confirmed = trial(tmp_path / "run" / "trials" / "7" / "confirm-1")
    shutil.move(confirmed / "untrained.onnx", confirmed.parent / "untrained.onnx")
    candidate = wanted(tmp_path / "new" / "trials" / "0" / "confirm-1")
    shutil.move(candidate.with_name("untrained.onnx"), candidate.parents[1] / "untrained.onnx")
    assert Earlier([str(tmp_path / "run")]).find(candidate) == confirmed / "job"


def test_candidates_that_need_no_training_are_told_with_what_theirs_gave(tmp_path: Path) -> None:
    write_example(tmp_path / "run")
    results = read_results(tmp_path / "run")
    completed = [one for one in results.of_space if one.state == "completed"]
    content = ("data", "space")

    def leave(index: int, training: str | None, **result: Any) -> None:
        folder = results.folder.trial(index).path
        shutil.rmtree(folder)
        trial(folder, training, **result)

    same, failed, other, none = completed[:4]
    gated = next(one for one in results.of_space if one.state == "gated")
    study = results.study
    for one in (same, failed, gated):
        training = identity(study, one.choices, study.seed, [*content, digest_of_script(study)])
        leave(one.index, training, exit_code=1 if one is failed else 0)
    leave(other.index, "another")
    leave(none.index, None)
    told = [{"choices": same.choices, "values": {"val_accuracy": same.metrics["val_accuracy"]}}]
    assert trained_before(study, [results], content) == told
    assert trained_before(study, [results], ("other data", "space")) == []
    assert trained_before(study.model_copy(update={"seed": 99}), [results], content) == []
    precise = study.model_copy(update={"quantise": Quantise(precisions=["fp32", "int8"])})
    same.choices[PRECISION] = "int8"
    fp32 = same.choices | {PRECISION: "fp32"}
    assert trained_before(precise, [results], content) == [*told, {"choices": fp32, "values": {}}]
    gone = study.model_copy(update={"train": study.train.model_copy(update={"script": str(tmp_path / "gone.py")})})
    assert trained_before(gone, [results], content) == []


def test_what_makes_a_training_another_one(tmp_path: Path) -> None:
    study = candidates_of(Bench()).study

    def of(choices: dict[str, Any] = CHOICES, seed: int = 0, content: str = "dss", **train: Any) -> str:
        changed = study.model_copy(update={"train": study.train.model_copy(update=train)})
        return identity(changed, choices, seed, list(content))

    same = [of(), of(CHOICES | {PRECISION: "int8"}), of(cpus=4), of(gpus=1), of(timeout_s=1.0)]
    assert len(set(same)) == 1
    others = [
        of(CHOICES | {"epochs": 2}), of(seed=1), of(content="ess"), of(content="dts"), of(content="dst"),
        of(epochs=2), of(batch_size=1),
        of(learning_rate=0.5),
    ]  # fmt: skip
    assert len({*same, *others}) == 1 + len(others)


def test_data_and_script_are_known_by_their_content(tmp_path: Path) -> None:
    candidates = candidates_of(Bench())
    data = candidates.data
    before = digest_of_data(data)
    data.x_train[0, 0] = 7.0
    assert digest_of_data(data) != before
    assert digest_of_data(candidates_of(Bench(), test_rows=0).data) == before
    script = tmp_path / "train.py"
    script.write_text("one")
    study = candidates.study.model_copy(
        update={"train": candidates.study.train.model_copy(update={"script": str(script)})}
    )
    first = digest_of_script(study)
    script.write_text("two")
    assert digest_of_script(study) != first != digest_of_script(candidates.study)
    convnet, mlp = (digest_of_space(find_space(name)) for name in ("convnet", "mlp"))
    assert convnet and mlp and convnet != mlp
    empty = np.zeros((0, 1, 2, 2), np.float32)
    none = np.zeros(0, np.int64)
    arrays = {"x_train": empty, "x_val": empty, "x_test": empty, "y_train": none, "y_val": none, "y_test": none}
    assert digest_of_data(Dataset(**arrays, task="classification", outputs=2)) != before
