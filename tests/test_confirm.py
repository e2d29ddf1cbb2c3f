"""Confirming the front beside jobs and devices that are stood in for: what is trained again, and which reasons stay."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_example import profile_of
from test_steps import FILE, NETWORK, Bench, candidates_of, propose

from nas.account import Account
from nas.confirm import confirm
from nas.folder import RunFolder
from nas.jobs import Jobs
from nas.journal import Journal, Trial
from nas.steps import Candidates
from profiles import files
from profiles.errors import UnavailableError
from profiles.store import Store

_GRACE_S = 0.5


class Launcher:
    """Its jobs fail at once with what they wrote last; ``None``: they hang, and take their time to end."""

    local = True

    def __init__(self, last_lines: str | None) -> None:
        self._last_lines = last_lines
        self.jobs: list[Path] = []
        self.gone: list[str] = []

    def adopt(self, out_dir: Path) -> str | None:
        return str(out_dir) if (out_dir / "result.json").exists() else None

    def begun(self, out_dir: Path) -> bool:
        return True

    def submit(self, candidate: Path, out_dir: Path, script: str | None, gpu: str | None) -> str:
        self.jobs.append(out_dir)
        out_dir.mkdir(parents=True)
        if self._last_lines is not None:
            result = {"schema": 1, "exit_code": 1, "signal": None, "cancelled": False, "wall_s": 1.0, "cpu_s": 1.0}
            (out_dir / "result.json").write_text(json.dumps(result | {"last_lines": self._last_lines}))
        return str(out_dir)

    def state(self, handle: str, out_dir: Path) -> str:
        return "ended" if (out_dir / "result.json").exists() else "running"

    def cancel(self, handle: str) -> None:
        time.sleep(_GRACE_S)
        self.gone.append(handle)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with Store("sqlite://") as store:
        yield Journal(store, "s")


def confirmed(trial: Trial, folder: Path, candidates: Candidates, journal: Journal, launcher: Any) -> Trial:
    if not journal.trials:
        propose(journal, trial)
        journal.append("completed", trial.index, metrics={"val_rmse": 1.0})
    account = Account()
    jobs = Jobs(launcher, parallel=2, timeout_s=0.2, script=None, account=account)
    confirm(
        list(journal.trials.values()),
        folder=RunFolder(folder),
        candidates=candidates,
        journal=journal,
        jobs=jobs,
        account=account,
    )
    return journal.trials[trial.index]


def test_a_score_that_is_no_number_is_the_reason(tmp_path: Path, journal: Journal) -> None:
    found = confirmed(FILE, tmp_path, candidates_of(Bench(math.nan)), journal, Launcher(None))
    assert str(found.confirm_reason).startswith("no score on the test split: ") and found.confirmed == {}
    assert str(found.unconfirmed).endswith("; measuring on local: not measured")


def test_without_a_test_split_nothing_is_trained_again(tmp_path: Path, journal: Journal) -> None:
    launcher = Launcher("out of luck")
    found = confirmed(NETWORK, tmp_path, candidates_of(Bench(), test_rows=0, seeds=2), journal, launcher)
    assert launcher.jobs == [] and found.confirmed == {}
    assert found.confirm_reason is None and found.unmeasured == "measuring on local: not measured"


def test_a_full_disk_is_no_reason_and_the_training_is_done_again(tmp_path: Path, journal: Journal) -> None:
    candidates, job = candidates_of(Bench(), seeds=1), RunFolder(tmp_path).trial(0).confirm(1) / "job"
    full = Launcher("OSError: [Errno 28] No space left on device")
    with pytest.raises(UnavailableError, match="no space left: exit code 1: OSError"):
        confirmed(NETWORK, tmp_path, candidates, journal, full)
    assert full.jobs == [job] and not job.exists() and journal.trials[0].confirmed is None
    again = Launcher("out of luck")
    found = confirmed(NETWORK, tmp_path, candidates, journal, again)
    assert again.jobs == [job] and found.confirm_reason == "training with seed 1: exit code 1: out of luck"


class Cluster(Launcher):
    local = False

    def word(self, handle: str) -> None:
        return None


def test_the_full_disk_of_a_node_is_not_that_of_the_folder(tmp_path: Path, journal: Journal) -> None:
    """Another node may have room; twice in a row it may be the folder's, or a quota, and nothing is lost."""
    job, full = RunFolder(tmp_path).trial(0).confirm(1) / "job", Cluster("OSError: [Errno 28] No space left on device")
    with pytest.raises(UnavailableError, match="no space left: exit code 1: OSError"):
        confirmed(NETWORK, tmp_path, candidates_of(Bench(), seeds=1), journal, full)
    assert full.jobs == [job, job] and not job.exists() and journal.trials[0].confirmed is None


def test_the_front_is_measured_when_the_last_training_has_gone(tmp_path: Path, journal: Journal) -> None:
    launcher = Launcher(None)
    there: list[int] = []

    class Watching(Bench):
        def interleaved(self, onnx: list[Path], *rest: Any) -> list[Any]:
            there.append(len(launcher.jobs) - len(launcher.gone))
            return super().interleaved(onnx, *rest)

    found = confirmed(NETWORK, tmp_path, candidates_of(Watching(), seeds=1), journal, launcher)
    assert there == [0] and "no result within 0.2 s" in str(found.confirm_reason)


def test_a_seed_that_fails_ends_the_trainings_with_the_others(tmp_path: Path, journal: Journal) -> None:
    """Of three, two at a time: the second is stopped, the third never begins."""

    class FirstFails(Launcher):
        def submit(self, *arguments: Any) -> str:
            self._last_lines = None if self.jobs else "out of luck"
            return super().submit(*arguments)

    launcher = FirstFails(None)
    found = confirmed(NETWORK, tmp_path, candidates_of(Bench(), seeds=3), journal, launcher)
    assert [job.parent.name for job in launcher.jobs] == ["confirm-1", "confirm-2"]
    assert launcher.gone == [str(launcher.jobs[1])]
    assert found.confirm_reason == "training with seed 1: exit code 1: out of luck"


def test_a_front_that_has_grown_is_measured_side_by_side(tmp_path: Path, journal: Journal) -> None:
    """The first was confirmed before, with a test score; the third too, and its file is gone."""
    asked: list[list[str]] = []

    class Timed(Bench):
        def interleaved(self, onnx: list[Path], target: str, models: list[str], *rest: Any) -> list[Any]:
            asked.append(models)
            times_ms = (2.0, 3.0)
            return [profile_of(name, ms, np.random.default_rng(0)) for name, ms in zip(models, times_ms, strict=True)]

    for index in range(3):
        propose(journal, Trial(index=index, choices={}, digest=str(index), source="baseline"))
        journal.append("completed", index, metrics={"val_rmse": 1.0, "latency_ms@local": 9.0})
    before = {"test_rmse_shipped": 0.5, "latency_ms@local": 7.0, "energy_mj@local": 1.0}
    for index in (0, 2):
        journal.append("confirmed", index, metrics=before, sems={"energy_mj@local": 0.1}, reason="odd", unmeasured="x")
    for index in (0, 1):
        files.write_bytes(RunFolder(tmp_path).trial(index).trained, b"onnx")
    for _ in range(2):  # the second time nothing is left to be done
        confirmed(FILE, tmp_path, candidates_of(Timed()), journal, Launcher(None))
    assert asked == [["s/0", "s/1"]]
    first, second, third = (journal.trials[index] for index in range(3))
    assert first.confirmed is not None and second.confirmed is not None
    assert (first.confirmed["test_rmse_shipped"], first.confirmed["energy_mj@local"]) == (0.5, 1.0)
    assert (first.figures["latency_ms@local"], second.figures["latency_ms@local"]) == (2.0, 3.0)
    assert first.confirmed_sems == {"energy_mj@local": 0.1, "latency_ms@local": pytest.approx(0.012)}
    assert (first.confirm_reason, first.unmeasured) == ("odd", None)
    assert second.confirmed["test_rmse_shipped"] == pytest.approx(math.sqrt(5 / 3)) and second.unconfirmed is None
    assert (third.confirmed, third.unmeasured) == (before, "x")
