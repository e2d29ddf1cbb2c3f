"""The search's own loop with real jobs and a real generator, where figures need not be measured: stopping, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from nas.account import Account
from nas.folder import RunFolder, TrialFolder
from nas.generators import Objective
from nas.jobs import Jobs
from nas.journal import Journal, Trial, trials_of
from nas.launcher import Launcher
from nas.plan import Plan
from nas.proposals import Proposals, results_of
from nas.search import Search
from nas.spaces import find_space
from nas.study import Study, parameters_of
from nas.study_file import load_study
from nas.training.table import Table, read_table
from profiles import files
from profiles.store import Store

STUDY = """
name = "small"
space = "macro"
[data]
name = "shape"
input_shape = [3, 8, 8]
outputs = 10
[budget]
trials = 20
[search]
generator = "sobol"
initial_trials = 4
[train]
script = "train.py"
[[objective]]
metric = "score"
goal = "max"
threshold = 0.0
[[objective]]
metric = "params"
goal = "min"
threshold = 100.0
"""

# Four that end well; then only ones that fall behind, and would go on for an hour.
TRAIN = """
import json, sys, time
from pathlib import Path
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
trial, out = json.loads(Path(sys.argv[1]).read_text())["trial"], Path(sys.argv[2])
(out / "tb").mkdir()
writer = EventFileWriter(str(out / "tb"))
for step, value in enumerate((0.8, 1.4, 1.5) if trial < 4 else (0.1, 0.2), 1):
    summary = Summary(value=[Summary.Value(tag="score", simple_value=value)])
    writer.add_event(Event(wall_time=float(step), step=step, summary=summary))
writer.close()
if trial >= 4:
    time.sleep(3600)
(out / "metrics.json").write_text(json.dumps({"score": 1.5}))
"""


class Known:
    """In place of ``nas.steps.Candidates``: every candidate costs the same, and is worth what its script wrote."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table
        self.bench = self

    def connect(self) -> None:
        pass

    def write(self, trial: Trial, path: Path, seed: int) -> None:
        files.write_json(path, {"trial": trial.index, "choices": trial.choices})

    def profile(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        return {"params": 10.0}, {}

    def evaluate(self, trial: Trial, folder: TrialFolder, job: Path, written: Mapping[str, float]) -> dict[str, float]:
        return dict(written) if self.table is None else self.table.look_up(trial.choices)


@contextmanager
def search_of(folder: Path, study: Study, known: Known) -> Iterator[tuple[Search, Journal]]:
    run, account = RunFolder(folder / "run"), Account()
    run.path.mkdir(exist_ok=True)
    objectives = tuple(Objective(name=o.metric, goal=o.goal, threshold=o.threshold) for o in study.objective)
    spec = {"parameters": parameters_of(study), "space": study.space, "initial": 4, "generator": "sobol"}
    spec |= {"objectives": [{"name": o.name, "goal": o.goal, "threshold": o.threshold} for o in objectives]}
    jobs = Jobs(Launcher(), parallel=2, timeout_s=study.train.timeout_s, script=study.train.script, account=account)
    with Store(run.database) as store:
        journal = Journal(store, study.name)
        proposals = Proposals(spec, 0, known=lambda: [], timeout_s=100, log=run.path / "log")
        plan = Plan(study=study, folder=run, objectives=objectives, limits=())
        try:
            candidates: Any = known
            yield (
                Search(plan, candidates=candidates, journal=journal, jobs=jobs, proposals=proposals, account=account),
                journal,
            )
        finally:
            proposals.close()
            jobs.cancel_all()


def write_study(folder: Path, **overrides: str) -> Study:
    (folder / "train.py").write_text(TRAIN)
    (folder / "small.toml").write_text(STUDY)
    return load_study(folder / "small.toml", {key.replace("__", "."): value for key, value in overrides.items()})


def test_trainings_and_the_search_end_early_where_nothing_more_is_to_be_had(tmp_path: Path) -> None:
    study = write_study(tmp_path, search__global_stopping__window="2")
    with search_of(tmp_path, study, Known()) as (search, journal):
        reason = search.run()
        assert reason == "the hypervolume stalled: 0 % more in 2 trials, the bar is 10 %"
        trials = [trial for _, trial in sorted(journal.trials.items())]
        assert [trial.state for trial in trials[:4]] == ["completed"] * 4
        assert {trial.state for trial in trials[4:]} == {"early_stopped"} and 6 <= len(trials) < 20
        stopped = trials[4]
        assert stopped.reason is not None and stopped.reason.startswith("step 2 of 3: score 0.3 at best, and trial ")
        assert stopped.metrics == {"params": 10.0}  # what it could have reached is no metric of it
        (told,) = results_of([stopped], ["score", "params"])
        assert told["status"] == "done" and told["values"] == pytest.approx({"score": 0.3, "params": 10.0})
        assert trials_of(journal.events) == journal.trials  # a resumed search knows the same
        job = json.loads((tmp_path / "run" / "trials" / "4" / "job" / "job.json").read_text())
    wait_for(lambda: not Path(f"/proc/{job['pgid']}").exists())


def test_without_early_stopping_trainings_go_on(tmp_path: Path) -> None:
    study = write_study(tmp_path, search__early_stopping="false", budget__trials="5", train__timeout_s="8")
    with search_of(tmp_path, study, Known()) as (search, journal):
        search.run()
        assert journal.trials[4].state == "failed" and "no result within 8 s" in str(journal.trials[4].reason)


def test_a_job_whose_stop_was_journalled_but_not_carried_out_is_ended_on_resume(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget__trials="5")
    with search_of(tmp_path, study, Known()) as (search, journal):
        for index in range(5):
            journal.append("proposed", index, choices={}, digest=str(index), source="sobol")
            journal.append("profiled", index, metrics={"params": 10.0}, sems={})
            journal.append("training", index, attempt=0)
            if index < 4:
                journal.append("completed", index, metrics={"score": 1.0})
        known = Known()
        folder = RunFolder(tmp_path / "run").trial(4)
        known.write(journal.trials[4], folder.candidate, 0)
        earlier = Launcher()
        earlier.submit(folder.candidate, folder.job, study.train.script)
        wait_for((folder.job / "job.json").exists)
        job = json.loads((folder.job / "job.json").read_text())
        journal.append("early_stopped", 4, reason="dominated", step=2, steps=3, hoped={"score": 0.3})
        assert search.run() == "the budget is used up"
    wait_for(lambda: not Path(f"/proc/{job['pgid']}").exists())


def test_a_table_takes_the_place_of_training(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget__trials="5", budget__failures="5")
    cells = ["0", "1", "2"]
    rows = [f"{a},{b},{c},{d},0,0,0,0,0.{a}{b}{c}{d}" for a in cells for b in cells for c in cells for d in cells]
    (tmp_path / "t.csv").write_text("b0,b1,b2,b3,b4,b5,b6,b7,score\n" + "\n".join(rows))
    table = read_table(tmp_path / "t.csv", find_space("macro"), study.trained_metrics)
    with search_of(tmp_path, study, Known(table)) as (search, journal):
        journal.append(
            "proposed", 0, choices=dict(zip(table.names, "21000000", strict=True)), digest="0", source="sobol"
        )
        search.run()
        assert journal.trials[0].state == "completed" and journal.trials[0].metrics["score"] == 0.21
        others = [trial for index, trial in journal.trials.items() if index]
        assert all(trial.state == "failed" and "t.csv has no row for b0 = " in str(trial.reason) for trial in others)
    assert not list(tmp_path.glob("run/trials/*/job*"))
