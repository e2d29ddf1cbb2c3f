"""Candidates that are measured and not trained: which, when, what they teach, and through crashes at any step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import test_crashes
import test_transfer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crashes import FATES, Crash, World, a_folder, check
from test_early import Known

from nas import checks
from nas.account import Account
from nas.folder import RunFolder, TrialFolder
from nas.generate import AskTell
from nas.generators import Limit, Objective
from nas.jobs import Jobs
from nas.journal import Journal, Trial
from nas.launcher import Launcher
from nas.plan import Plan
from nas.proposals import Proposal, Proposals
from nas.scouting import scouts_of
from nas.search import Search
from nas.study import Study, parameters_of
from nas.study_file import load_study
from profiles import files
from profiles.errors import InputError, MeasurementError
from profiles.store import Event, Store

GRID = test_transfer.GRID | {"initial": 4}


def key(config: dict[str, Any]) -> tuple[int, int]:
    return config["a"], config["b"]


def scouted(config: dict[str, Any]) -> dict[str, Any]:
    return {"config": config, "status": "scouted", "values": {"ms": 1.0 + config["a"] + config["b"]}}


def test_scouts_are_spread_and_stay_to_be_proposed() -> None:
    search = AskTell(GRID, seed=0)
    found = []
    while (choices := search.scout()) is not None:
        found.append(key(choices))
    assert sorted(found) == [(a, b) for a in range(6) for b in range(6)]
    corners = {(0, 0), (0, 5), (5, 0), (5, 5)}
    assert corners <= set(found[:5])  # the first is in the middle
    assert len({key(config) for config in search.ask(36)}) == 36
    assert search.ask(1) == []


def test_what_was_scouted_teaches() -> None:
    """No trial tells a latency here: what is fast is known from scouts alone."""
    search = AskTell(GRID, seed=0)
    for config in search.ask(4):
        search.tell([{"config": config, "values": {"acc": 0.5}}])
    search.tell([scouted({"a": a, "b": b}) for a in range(0, 6, 2) for b in range(0, 6, 2)])
    (found,) = search.ask(1)
    assert sum(key(found)) <= 2
    again = AskTell(GRID, seed=0)  # all that it knows is what it was told, in whatever order
    again.tell([scouted({"a": a, "b": b}) for a in range(0, 6, 2) for b in range(0, 6, 2)])
    for config in AskTell(GRID, seed=0).ask(4):
        again.tell([{"config": config, "values": {"acc": 0.5}}])
    assert again.ask(1) == [found]


def test_a_candidate_that_was_scouted_and_tried_counts_once() -> None:
    search = AskTell(GRID, seed=0)
    for config in search.ask(4):
        search.tell([scouted(config), {"config": config, "values": {"acc": 0.5, "ms": 1.0 + sum(key(config))}}])
    search.ask(1)
    model = search._generators["hwnas"]._models["ms"]  # type: ignore[attr-defined]
    assert len(model._x) == 4


def test_generators_that_learn_from_trials_alone_have_no_scouts() -> None:
    assert AskTell(GRID | {"generator": "sobol"}, seed=0).scout() is None


def test_what_the_events_say() -> None:
    def event(seq: int, kind: str, **data: Any) -> Event:
        return Event(seq=seq, time="", kind=kind, trial=None, data=data)

    events = [
        event(1, "started"),
        event(2, "scouting", choices={"a": 1}, digest="x", by="me"),
        event(3, "scouting", choices={"a": 2}, digest="y"),
        event(4, "scouted", digest="y", metrics={"ms": 2.0, "other": 1.0}, sems={"ms": 0.1}, seconds=1.0),
        event(5, "scouting", choices={"a": 3}, digest="z"),
        event(6, "scouted", digest="z", reason="killed", seconds=1.0),
        event(7, "scouted", digest="y", metrics={"ms": 9.0}, sems={}, seconds=1.0),  # late: changes nothing
    ]
    open_, measured, failed = scouts_of(events).values()
    assert (open_.owner, open_.ended, open_.metrics) == ("me", False, {})
    assert measured.as_told(["acc", "ms"]) == {
        "config": {"a": 2}, "status": "scouted", "values": {"ms": 2.0}, "sems": {"ms": 0.1}
    }  # fmt: skip
    assert failed.ended and failed.reason == "killed" and not failed.metrics


STUDY = """
name = "s"
space = "mlp"
[data]
name = "digits"
[budget]
trials = 3
[search]
scouting = 3
initial_trials = 2
[train]
script = "train.py"
[[objective]]
metric = "score"
goal = "max"
[[objective]]
metric = "latency_ms@local"
goal = "min"
"""


@pytest.mark.parametrize(
    ("old", "new", "accepted"),
    [
        ("scouting = 3", 'scouting = 3\ngenerator = "sobol"', "0 with the generator sobol"),
        ("latency_ms@local", "params", "0 where no objective or limit is a metric of a target"),
        ('script = "train.py"', 'table = "train.py"', "0 with train.table"),
    ],
)
def test_scouting_for_nothing_is_bad_input(tmp_path: Path, old: str, new: str, accepted: str) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / "s.toml").write_text(STUDY.replace(old, new))
    checks.scouting(load_study(tmp_path / "s.toml", {"search.scouting": "0"}))
    with pytest.raises(InputError, match=f"search.scouting: given 3; accepted: {accepted}"):
        checks.scouting(load_study(tmp_path / "s.toml"))


# In a search


class Measuring(Known):
    """Writes a file as a profile does, and a figure that follows from the choices."""

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[str] = []

    def profile(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        if not folder.profile("local").exists():
            self.measured.append(trial.digest)
            files.write_json(folder.profile("local"), {"digest": trial.digest})
        return {"params": 10.0, "latency_ms@local": 0.1 + trial.choices["hidden_size_1"] / 100}, {}


# A training goes on until enough was scouted beside it: however slow the machine is, it was worth it by then.
TRAIN = """
import json, sys, time
from pathlib import Path
out = Path(sys.argv[2])
while len(list(out.parents[2].glob("scouts/*/profile-local.json"))) < 3:
    time.sleep(0.05)
(out / "metrics.json").write_text(json.dumps({"score": 0.5}))
"""


def test_a_search_scouts_while_trainings_run_and_measures_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "s.toml").write_text(STUDY)
    study, run, known, account = load_study(tmp_path / "s.toml"), RunFolder(tmp_path / "run"), Measuring(), Account()
    run.path.mkdir()
    objectives = tuple(Objective(name=o.metric, goal=o.goal, threshold=1.0) for o in study.objective)
    spec = {"parameters": parameters_of(study), "initial": 2, "generator": "hwnas"}
    spec["objectives"] = [{"name": o.name, "goal": o.goal, "threshold": o.threshold} for o in objectives]
    with Store(run.database) as store:
        journal = Journal(store, study.name)
        proposals = Proposals(spec, 0, known=list, timeout_s=100, log=run.path / "log")
        jobs = Jobs(Launcher(), parallel=1, timeout_s=60, script=study.train.script, account=account)
        plan = Plan(study=study, folder=run, objectives=objectives, limits=())
        candidates: Any = known
        search = Search(plan, candidates=candidates, journal=journal, jobs=jobs, proposals=proposals, account=account)
        try:
            assert search.run() == "the budget is used up"
        finally:
            proposals.close()
            jobs.cancel_all()
        scouts = scouts_of(journal.events)
        order = [event.kind for event in journal.events]
        assert len(scouts) == 3 and all(one.ended and one.metrics for one in scouts.values())
        assert order.index("scouting") > order.index("training")
        assert {trial.state for trial in journal.trials.values()} == {"completed"} and len(journal.trials) == 3
    assert (
        len(known.measured) == len(set(known.measured)) == len({*scouts, *(t.digest for t in journal.trials.values())})
    )
    assert all(run.scout(one.digest).profile("local").exists() for one in scouts.values())
    for trial in journal.trials.values():
        assert json.loads(run.trial(trial.index).profile("local").read_text()) == {"digest": trial.digest}


# Through crashes, with the stand-ins of tests/test_crashes.py


class Candidates(test_crashes.Candidates):
    def profile(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        if trial.index >= 0:
            return super().profile(trial, folder)
        self._world.step()
        if trial.choices["hidden_size_1"] % 2:
            raise MeasurementError("killed by SIGSEGV")
        return {"latency_ms@local": 0.1}, {"latency_ms@local": 0.01}


class Asked(test_crashes.Proposals):
    scouted_out = False
    scouts = False

    def scout(self) -> None:
        self._world.step()
        self.asked = self.scouts = True

    def poll(self) -> Proposal | None:
        if not self.asked or not self.scouts:
            return super().poll()
        self._world.step()
        self.asked = self.scouts = False
        ahead = 2 + len(self._journal.every("scouting"))  # some are proposed later
        choices = {"hidden_size_1": 16 + ahead, "hidden_size_2": 16, "learning_rate": 0.01}
        return Proposal(
            choices=choices | {"epochs": 1, "dropout": 0.1, "batch_size": 32}, source="scouting", seconds=0.0
        )

    def tell(self, result: Any) -> None:
        if result["status"] != "scouted":
            super().tell(result)


def one_session(world: World, folder: RunFolder, store: Store, me: str | None) -> str:
    budget = {"trials": len(world.fates), "parallel": 2, "failures": len(world.fates)}
    study = Study.model_validate(
        {"name": "s", "space": "mlp", "data": {"name": "digits"}, "budget": budget, "search": {"scouting": 4}}
        | {"objective": [{"metric": "val_accuracy", "goal": "max"}]}
    )
    objectives = (Objective(name="val_accuracy", goal="max"),)
    limits = (Limit(name="latency_ms@local", op="<=", bound=1.0),)
    journal, account = Journal(store, "s", world.step, me), Account()
    launcher: Any = test_crashes.Launcher(world)
    candidates: Any = Candidates(world)
    proposals: Any = Asked(world, journal)
    presence: Any = None if me is None else test_crashes.SimpleNamespace(gone=lambda name: name != me)
    return Search(
        Plan(study=study, folder=folder, objectives=objectives, limits=limits),
        candidates=candidates,
        journal=journal,
        jobs=Jobs(launcher, parallel=2, timeout_s=60.0, script=None, account=account),
        proposals=proposals,
        account=account,
        presence=presence,
    ).run()


@settings(max_examples=30)
@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=2, max_size=6),
    fuses=st.lists(st.integers(0, 60), max_size=8),
    several=st.booleans(),
)
def test_after_any_crashes_each_scout_was_measured_once_and_no_trial_suffered(
    fates: list[str], fuses: list[int], several: bool
) -> None:
    world = World(fates, cluster=several)
    with a_folder() as (folder, store):
        mine = [f"c{number}" if several else None for number in range(len(fuses) + 1)]
        for fuse, me in zip(fuses, mine, strict=False):
            world.fuse = fuse
            try:
                one_session(world, folder, store, me)
            except Crash:
                if not several:
                    world.running.clear()
        world.fuse = None
        assert one_session(world, folder, store, mine[-1]) == "the budget is used up"
        check(world, store)
        events = store.events("s")
        claimed = [event.data["digest"] for event in events if event.kind == "scouting"]
        measured = [event.data["digest"] for event in events if event.kind == "scouted"]
        assert len(claimed) == len(set(claimed)) <= 4
        assert len(measured) == len(set(measured)) and set(measured) <= set(claimed)
