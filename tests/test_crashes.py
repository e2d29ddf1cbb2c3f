"""The search's own loop, event table and job files, through crashes at any step: each trial once, none lost.

Real are ``Search``, ``Journal``, ``Store``, ``Jobs`` and the result files; devices, generator and job system are stood
in for, so that a thousand crashes take seconds. tests/test_kills.py kills real processes.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.account import Account
from nas.folder import RunFolder, TrialFolder
from nas.generators import Limit, Objective
from nas.jobs import Jobs
from nas.journal import Journal, Trial
from nas.launcher import Refused
from nas.plan import Plan
from nas.proposals import Proposal
from nas.search import Search
from nas.study import Study
from profiles import files
from profiles.errors import MeasurementError, TrialError, UnavailableError
from profiles.store import Store

# What becomes of a candidate -> the state in which its trial has to end.
FATES = {
    "fine": "completed",
    "killed once": "completed",
    "killed always": "failed",
    "crashes": "failed",
    "does not fit its weights": "failed",
    "cannot be measured": "failed",
    "too slow": "gated",
}


class Crash(BaseException):
    """As by SIGKILL: nothing that was not written survives."""


class World:
    """What is outside the controller. ``step`` is called wherever it could be killed."""

    def __init__(self, fates: list[str], cluster: bool) -> None:
        self.fates = fates
        self.cluster = cluster  # jobs outlive the controller
        self.refuses = False  # the scheduler takes no job
        self.moods: list[bool] = []  # whether it takes the next ones, where others run; then it takes all
        self.fuse: int | None = None
        self.running: dict[Path, int] = {}  # job -> looks until it ends
        self.trained: Counter[int] = Counter()
        self.told: list[int] = []

    def step(self, *_: Any) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Crash


class Launcher:
    def __init__(self, world: World) -> None:
        self._world = world
        self.local = not world.cluster

    def adopt(self, out_dir: Path) -> str | None:
        known = (out_dir / "result.json").exists() or (self._world.cluster and out_dir in self._world.running)
        return str(out_dir) if known else None

    def begun(self, out_dir: Path) -> bool:
        return True

    def word(self, handle: str) -> None:
        """This scheduler says nothing."""

    def submit(self, candidate: Path, out_dir: Path, script: str | None, gpu: str | None) -> str:
        self._world.step()
        if self._world.refuses:
            raise UnavailableError("the scheduler is away")
        if self._world.running and self._world.moods and not self._world.moods.pop():
            raise Refused("there are as many jobs as may be")
        out_dir.mkdir(parents=True)
        self._world.running[out_dir] = 2
        self._world.step()
        return str(out_dir)

    def state(self, handle: str, out_dir: Path) -> str:
        world = self._world
        if out_dir in world.running:
            world.running[out_dir] -= 1
            if world.running[out_dir] == 0:
                del world.running[out_dir]
                self._end(out_dir)
        return "ended" if (out_dir / "result.json").exists() else "running"

    def _end(self, out_dir: Path) -> None:
        trial = int(out_dir.parent.name)
        fate = self._world.fates[trial]
        killed = fate == "killed always" or (fate == "killed once" and out_dir.name == "job")
        code = None if killed else 1 if fate == "crashes" else 0
        result = {"schema": 1, "exit_code": code, "signal": "SIGKILL" if killed else None, "cancelled": False}
        (out_dir / "metrics.json").write_text('{"val_accuracy": 0.5}')
        (out_dir / "result.json").write_text(json.dumps(result | {"wall_s": 1.0, "cpu_s": 1.0, "last_lines": ""}))
        self._world.trained[trial] += code is not None

    def cancel(self, handle: str) -> None:
        self._world.running.pop(Path(handle), None)

    def pause(self, out_dir: Path) -> bool:
        return True

    resume = pause


class Candidates:
    def __init__(self, world: World) -> None:
        self._world = world
        self.bench = SimpleNamespace(connect=lambda: None)
        self.table = None

    def write(self, trial: Trial, path: Path, seed: int) -> None:
        self._world.step()

    def profile(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        self._world.step()
        if self._world.fates[trial.index] == "cannot be measured":
            raise MeasurementError("killed by SIGSEGV")
        slow = self._world.fates[trial.index] == "too slow"
        return {"latency_ms@local": 9.0 if slow else 0.1}, {"latency_ms@local": 0.01}

    def evaluate(self, trial: Trial, folder: TrialFolder, job: Path, written: Mapping[str, float]) -> dict[str, float]:
        self._world.step()
        if self._world.fates[trial.index] == "does not fit its weights":
            raise TrialError("weights.pt: 1.weight: missing")
        return dict(written)


class Proposals:
    """Its state is derived: a new one goes on after what is known."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world, self._journal = world, journal
        world.told = sorted(trial.index for trial in journal.trials.values() if trial.ended)
        self.asked, self.exhausted = False, False

    def ask(self) -> None:
        self._world.step()
        self.asked = True

    def poll(self) -> Proposal | None:
        if not self.asked:
            return None
        self._world.step()
        self.asked = False
        choices = {"hidden_size_1": 16 + len(self._journal.trials), "hidden_size_2": 16, "learning_rate": 0.01}
        choices |= {"epochs": 1, "dropout": 0.1, "batch_size": 32}
        return Proposal(choices=choices, source="test", seconds=0.0)

    def tell(self, result: Mapping[str, Any]) -> None:
        if result["status"] != "scouted":  # measured, and on its way to a training
            self._world.told.append(result["config"]["hidden_size_1"] - 16)

    def warm(self) -> None: ...
    def complaint(self) -> None: ...
    def wait(self, timeout_s: float) -> None: ...
    def stop(self) -> None: ...
    def go_on(self) -> None: ...


def one_session(world: World, folder: RunFolder, store: Store, parallel: int, me: str | None = None) -> str:
    """``me``: one of several controllers, all others of which are gone."""
    return a_search(world, folder, store, parallel, me, lambda name: name != me).run()


def a_search(
    world: World,
    folder: RunFolder,
    store: Store,
    parallel: int,
    me: str | None,
    gone: Callable[[str], bool],
    **replaced: Any,
) -> Search:
    """``replaced``: tables of the study."""
    budget = {"trials": len(world.fates), "parallel": parallel, "failures": len(world.fates)}
    objective = [{"metric": "val_accuracy", "goal": "max"}]
    data = {"name": "digits"}
    tables = {"data": data, "budget": budget, "objective": objective} | replaced
    study = Study.model_validate({"name": "s", "space": "mlp"} | tables)
    plan = Plan(
        study=study,
        folder=folder,
        objectives=(Objective(name="val_accuracy", goal="max"),),
        limits=(Limit(name="latency_ms@local", op="<=", bound=1.0),),
    )
    journal = Journal(store, "s", world.step, me)  # a listener hears an event once it is durable
    launcher, account = Launcher(world), Account()
    jobs = Jobs(launcher, parallel=parallel, timeout_s=60.0, script=None, account=account)  # type: ignore[arg-type]
    return Search(
        plan,
        candidates=Candidates(world),  # type: ignore[arg-type]
        journal=journal,
        jobs=jobs,
        proposals=Proposals(world, journal),  # type: ignore[arg-type]
        account=account,
        presence=None if me is None else SimpleNamespace(gone=gone),  # type: ignore[arg-type]
    )


@contextmanager
def a_folder() -> Any:
    with tempfile.TemporaryDirectory() as path, Store("sqlite://") as store:
        (Path(path) / "trials").mkdir()
        yield RunFolder(Path(path)), store


@settings(max_examples=120)
@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=1, max_size=6),
    fuses=st.lists(st.integers(0, 40), max_size=10),
    parallel=st.integers(1, 3),
    cluster=st.booleans(),
    several=st.booleans(),
    moods=st.lists(st.booleans(), max_size=10),
)
def test_after_any_crashes_each_trial_ended_once_and_was_trained_to_the_end_at_most_once(
    fates: list[str], fuses: list[int], parallel: int, cluster: bool, several: bool, moods: list[bool]
) -> None:
    """``several``: each session is a controller of its own, which takes over what the one before it has left."""
    world = World(fates, cluster)
    world.moods = moods if cluster else []
    with a_folder() as (folder, store), pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.patience._AGAIN_S", (0.0,))
        before: list[Any] = []
        names = [f"c{number}" if several and cluster else None for number in range(len(fuses) + 1)]
        for fuse, name in zip(fuses, names, strict=False):
            world.fuse = fuse
            try:
                one_session(world, folder, store, parallel, name)
            except Crash:
                if not cluster:
                    world.running.clear()
            except Refused:  # before any job of this session was taken, while those of the last one run
                assert cluster
            events = store.events("s")
            assert events[: len(before)] == before
            before = events
        world.fuse, world.moods = None, [] if fuses else world.moods
        assert one_session(world, folder, store, parallel, names[-1]) == "the budget is used up"
        check(world, store)


def check(world: World, store: Store) -> None:
    events = store.events("s")
    trials = Journal(store, "s").trials
    assert sorted(trials) == list(range(len(world.fates)))
    for index, fate in enumerate(world.fates):
        assert trials[index].state == FATES[fate], (fate, trials[index].reason)
        kinds = [event.kind for event in events if event.trial == index]
        assert kinds.count("proposed") == 1
        assert sum(kinds.count(kind) for kind in ("completed", "failed", "gated")) == 1
        assert kinds.count("retried") == fate.startswith("killed")
        never = ("killed always", "too slow", "cannot be measured")
        assert world.trained[index] == (0 if fate in never else 1)
    assert sorted(set(world.told)) == sorted(trials)


def test_a_local_training_of_another_machine_is_done_again_in_a_folder_of_its_own() -> None:
    """Its controller may be alive and only cut off: the old job may still write where it wrote."""
    world = World(["fine", "fine"], cluster=False)
    with a_folder() as (folder, store):
        away = Journal(store, "s", me="process 1 (1) on another.machine")
        away.append_now("proposed", 0, choices={"hidden_size_1": 16}, digest="d", source="test")
        away.append("profiled", 0, metrics={"latency_ms@local": 0.1}, sems={})
        away.append("training", 0, attempt=0)
        exported = [folder.trial(0).path / name for name in ("trained.onnx", "trained.pt2", "converted.onnx")]
        for path in exported:
            files.write_text(path, "of the weights that the other controller had")
        one_session(world, folder, store, 2, "process 2 (2) on this.machine")
        kinds = [event.kind for event in store.events("s") if event.trial == 0]
        assert kinds == ["proposed", "profiled", "training", "taken_over", "retried", "training", "completed"]
        assert folder.trial(0).retry(1).is_dir() and not folder.trial(0).job.exists()
        assert not any(path.exists() for path in exported)  # what is there is not exported again
        assert world.trained == {0: 1, 1: 1}


def test_a_crash_after_each_single_step_in_turn() -> None:
    """Every prefix of one search that meets every fate."""
    crashes = 0
    while True:
        world = World(sorted(FATES), cluster=False)
        with a_folder() as (folder, store):
            world.fuse = crashes
            try:
                one_session(world, folder, store, 2)
                break
            except Crash:
                world.running.clear()
            world.fuse = None
            one_session(world, folder, store, 2)
            check(world, store)
        crashes += 1
    assert crashes > 50


def test_what_another_controller_took_over_meanwhile_is_left_to_it() -> None:
    with a_folder() as (folder, store):
        dead = Journal(store, "s", me="dead")
        for index in range(2):
            dead.append_now("proposed", index, choices={"hidden_size_1": 16 + index}, digest=f"d{index}", source="x")
        search = a_search(World(["fine"] * 2, cluster=True), folder, store, 1, "me", lambda name: name == "dead")
        assert Journal(store, "s", me="other").append_now("taken_over", 1)
        for _ in range(2):  # the first only learns of it
            search._handover.hear()
        assert [trial.owner for trial in Journal(store, "s").trials.values()] == ["me", "other"]


@pytest.mark.parametrize("cluster", [False, True])
def test_trainings_that_are_taken_over_wait_for_room(cluster: bool) -> None:
    world = World(["fine"] * 3, cluster)
    with a_folder() as (folder, store):
        dead = Journal(store, "s", me=None if not cluster else "dead")
        for index in range(3):
            dead.append("proposed", index, choices={"hidden_size_1": 16 + index}, digest=f"d{index}", source="x")
            dead.append("profiled", index, metrics={"latency_ms@local": 0.1}, sems={})
            dead.append("training", index, attempt=0)
        search = a_search(world, folder, store, 2, "me" if cluster else None, lambda name: name == "dead")
        search._handover.adopt()
        search._handover.hear()
        search._launch()
        assert [key.trial for key in search._jobs.running] == [0, 1]
        assert len(search._journal.mine) == 3
        assert search.run() == "the budget is used up"
        check(world, store)


@pytest.mark.parametrize("cluster", [False, True])
def test_a_scheduler_that_takes_no_job_ends_the_search_and_no_trial(cluster: bool) -> None:
    world = World(["fine", "fine"], cluster)
    with a_folder() as (folder, store):
        world.refuses = True
        for _ in range(2):  # it may still be away when the search is resumed
            with pytest.raises(UnavailableError, match="the scheduler is away"):
                one_session(world, folder, store, 2)
            trials = Journal(store, "s").trials
            assert trials[0].state == "training" and not any(trial.ended for trial in trials.values())
        world.refuses = False
        assert one_session(world, folder, store, 2) == "the budget is used up"
        check(world, store)


def test_without_a_number_of_trials_a_quarter_of_those_so_far_may_fail() -> None:
    with a_folder() as (folder, store):
        world = World([], cluster=True)
        search = a_search(world, folder, store, 1, None, lambda name: False, budget={"hours": 1})
        journal = search._journal

        def end(kind: str, **data: Any) -> None:
            index = len(journal.trials)
            journal.append("proposed", index, choices={"hidden_size_1": 16}, digest=str(index), source="x")
            journal.append(kind, index, **data)

        for _ in range(15):
            end("completed", metrics={"val_accuracy": 0.5})
        for _ in range(5):
            end("failed", step="training", reason="out of luck")
        assert search._over() is None
        end("failed", step="training", reason="out of luck")
        assert str(search._over()).startswith("6 trials failed (budget.failures = 5)")


def test_whether_a_search_stalls_is_asked_after_an_end_and_not_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("nas.bounds.stall", lambda trials, *_: asked.append(len(trials)))
    with a_folder() as (folder, store):
        rule = {"global_stopping": {"window": 1}}
        search = a_search(World(["fine"], cluster=True), folder, store, 1, None, lambda name: False, search=rule)
        for kind, data in (
            ("proposed", {"choices": {"hidden_size_1": 16}, "digest": "d", "source": "x"}),
            ("profiled", {"metrics": {}, "sems": {}}),
            ("completed", {"metrics": {"val_accuracy": 0.5}}),
        ):
            search._journal.append(kind, 0, **data)
            for _ in range(3):
                search._stop_early()
    assert asked == [1, 1]  # at first, and after the end


@pytest.mark.parametrize("end", [("early_stopped", {"hoped": {}}), ("failed", {"step": "training"})])
@pytest.mark.parametrize("joins", [False, True])
def test_what_a_dead_controller_stopped_and_did_not_cancel_is_cancelled(
    end: tuple[str, dict[str, Any]], joins: bool
) -> None:
    """By one that lives on, and by one that begins later."""
    world = World(["fine"], cluster=True)
    with a_folder() as (folder, store):
        dead = Journal(store, "s", me="dead")
        dead.append("proposed", 0, choices={"hidden_size_1": 16}, digest="d", source="x")
        dead.append("training", 0, attempt=0)
        searches = [] if joins else [a_search(world, folder, store, 1, "me", lambda name: name == "dead")]
        world.running[folder.trial(0).job] = 99
        dead.append(end[0], 0, reason="no result within 1 s", **end[1])
        if joins:
            search = a_search(world, folder, store, 1, "me", lambda name: name == "dead")
            search._handover.adopt()
        else:
            (search,) = searches
            search._journal._read_on()
            search._handover.hear()
        search._jobs.cancel_all()
        assert not world.running


def test_what_one_controller_finds_stalled_is_over_for_all_until_the_search_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others look at other moments, and need not find it."""
    with a_folder() as (folder, store):
        world, rule = World(["fine"] * 2, cluster=True), {"global_stopping": {"window": 1}}

        def search(me: str) -> Search:
            return a_search(world, folder, store, 1, me, lambda name: False, search=rule)

        one, other = search("one"), search("other")
        monkeypatch.setattr("nas.bounds.stall", lambda *_: "it stalled")
        one._stop_early()
        monkeypatch.setattr("nas.bounds.stall", lambda *_: None)
        other._journal._read_on()
        other._stop_early()
        assert [each._over() for each in (one, other)] == ["it stalled", "it stalled"]
        one._journal.append("finished", None, reason="it stalled")
        other._journal._read_on()
        assert other._over() == "it stalled" and search("later")._over() is None
