"""The event table: trials are a pure function of it, whatever the order of a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nas.journal import Journal, Trial, apply, trials_of
from profiles.store import Store

PROPOSED = {"choices": {"a": 1}, "digest": "d0", "source": "sobol", "seconds": 0.1}


def replay(*events: tuple[str, int | None, dict[str, Any]]) -> dict[int, Trial]:
    trials: dict[int, Trial] = {}
    for kind, index, data in events:
        apply(trials, kind, index, data)
    return trials


def test_a_trial_from_proposal_to_completion() -> None:
    trial = replay(
        ("started", None, {}),
        ("proposed", 0, PROPOSED),
        ("profiled", 0, {"metrics": {"latency_ms@local": 0.2}, "sems": {"latency_ms@local": 0.001}}),
        ("training", 0, {"attempt": 0}),
        ("completed", 0, {"metrics": {"val_accuracy": 0.97}, "train_s": 8.0}),
    )[0]
    assert trial.state == "completed" and trial.ended
    assert trial.metrics == {"latency_ms@local": 0.2, "val_accuracy": 0.97}
    assert trial.sems == {"latency_ms@local": 0.001}
    assert trial.train_s == 8.0


def test_what_comes_after_the_end_is_ignored_but_a_confirmation() -> None:
    trial = replay(
        ("proposed", 0, PROPOSED),
        ("gated", 0, {"reason": "too slow"}),
        ("completed", 0, {"metrics": {"val_accuracy": 1.0}}),
        ("confirmed", 0, {"metrics": {"test_accuracy": 0.9}, "sems": {}, "unmeasured": "away"}),
        ("confirmed", 0, {"metrics": {"test_accuracy": 0.9, "latency_ms@local": 2.0}, "sems": {}}),
    )[0]
    assert trial.state == "gated" and trial.reason == "too slow" and trial.metrics == {}
    assert trial.confirmed == {"test_accuracy": 0.9, "latency_ms@local": 2.0} and trial.unconfirmed is None


def test_a_retry_counts_and_waits_for_its_place() -> None:
    trial = replay(
        ("proposed", 0, PROPOSED),
        ("profiled", 0, {"metrics": {}, "sems": {}}),
        ("training", 0, {"attempt": 0}),
        ("retried", 0, {"attempt": 1, "reason": "killed"}),
    )[0]
    assert trial.state == "profiled" and trial.attempt == 1


def test_a_proposal_is_made_once(tmp_path: Path) -> None:
    trials = replay(("proposed", 0, PROPOSED), ("proposed", 0, PROPOSED | {"digest": "other"}))
    assert trials[0].digest == "d0"


def test_the_journal_comes_back_from_its_store(tmp_path: Path) -> None:
    heard: list[str] = []
    with Store(tmp_path / "study.db") as store:
        journal = Journal(store, "s", lambda kind, trial, data: heard.append(kind))
        journal.append("proposed", 0, **PROPOSED)
        journal.notify("tick")
        journal.append("failed", 0, step="training", reason="exit 7")
        Journal(store, "another study").append("proposed", 0, **PROPOSED)
    with Store(tmp_path / "study.db") as store:
        again = Journal(store, "s")
        assert again.trials == journal.trials
        assert again.trials[0].reason == "training: exit 7"
    assert heard == ["proposed", "tick", "failed"]


def test_texts_from_files_are_no_sql(tmp_path: Path) -> None:
    odd = "x'); DROP TABLE events; -- \u202e\x1b[31m <b>\n"
    with Store(tmp_path / "study.db") as store:
        store.append(odd, odd, 0, {odd: odd})
        store.append("s", "proposed", 0, PROPOSED)
        (event,) = store.events(odd)
        assert (event.kind, event.data) == (odd, {odd: odd})
        assert len(store.events("s")) == 1


kinds = st.sampled_from(
    ["profiled", "gated", "training", "retried", "completed", "failed", "confirmed", "account", "unheard_of"]
)
DATA = {
    "metrics": {"m": 1.0},
    "sems": {"m": 0.1},
    "reason": "r",
    "step": "s",
    "attempt": 1,
}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(0, 2)), max_size=25), st.integers(0, 25))
def test_a_crash_anywhere_leaves_a_prefix_and_going_on_gives_the_same(steps: list[tuple[str, int]], cut: int) -> None:
    """Reading half the events, stopping, and reading the rest equals reading all; no order of events is an error."""
    events = [("proposed", index, PROPOSED | {"digest": str(index)}) for index in range(3)]
    events += [(kind, index, DATA) for kind, index in steps]
    whole = replay(*events)
    part = replay(*events[: 3 + cut])
    for kind, index, data in events[3 + cut :]:
        apply(part, kind, index, data)
    assert part == whole
    assert sorted(whole) == [0, 1, 2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(0, 2)), max_size=15))
def test_the_first_end_is_final(steps: list[tuple[str, int]]) -> None:
    trials = replay(*[("proposed", index, PROPOSED) for index in range(3)])
    ends: dict[int, str] = {}
    for kind, index in steps:
        apply(trials, kind, index, DATA)
        if trials[index].ended:
            ends.setdefault(index, trials[index].state)
        assert ends.get(index, trials[index].state) == trials[index].state


def test_trials_of_is_the_same_fold(tmp_path: Path) -> None:
    with Store(tmp_path / "study.db") as store:
        journal = Journal(store, "s")
        journal.append("proposed", 0, **PROPOSED)
        journal.append("gated", 0, reason="too slow")
        assert trials_of(store.events("s")) == journal.trials
