"""Several controllers on one study: one line of events, one owner for each trial, and who is taken for gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import wait_for

from nas.begin import seed_offset
from nas.closing import folder_of, my_turn
from nas.folder import RunFolder, locked
from nas.journal import Journal, TakenOver
from nas.presence import Presence, own_name, same_machine
from nas.run_store import open_store, served
from profiles.errors import InputError
from profiles.store import Store

ELSEWHERE = "process 1 (1) on another.machine (0123456789ab)"


def propose(journal: Journal, digest: str) -> bool:
    """As a search does: on what is known, and again where that was not all."""
    while not journal.knows(digest):
        if journal.append_now("proposed", len(journal.trials), choices={}, digest=digest, source="x"):
            return True
    return False


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["propose", "end", "take"]), st.integers(0, 3)), max_size=40)
)
def test_whatever_the_order_each_candidate_is_proposed_once_and_ended_by_its_owner(
    steps: list[tuple[int, str, int]],
) -> None:
    with Store("sqlite://") as store:
        journals = [Journal(store, "s", me=f"c{number}") for number in range(3)]
        for number, action, which in steps:
            journal = journals[number]
            if action == "propose":
                propose(journal, f"d{which}")
            elif action == "take" and which in journal.trials and not journal.trials[which].ended:
                journal.append_now("taken_over", which)
            elif action == "end" and which in journal.trials and journal.trials[which] in journal.mine:
                try:
                    journal.append("completed", which, metrics={"by": number})
                except TakenOver:
                    assert journal.trials[which].owner != journal.me
        events = store.events("s")
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        proposed = [event.data["digest"] for event in events if event.kind == "proposed"]
        assert len(set(proposed)) == len(proposed)
        ends = Counter(event.trial for event in events if event.kind == "completed")
        assert not ends or max(ends.values()) == 1
        for journal in journals:
            journal._read_on()
            assert journal.trials == journals[0].trials
            assert [t.index for t in journal.open] == [t.index for t in journal.trials.values() if not t.ended]
            assert journal.count("completed") == len(ends)


def test_one_that_was_away_learns_that_its_trial_was_taken_over() -> None:
    with Store("sqlite://") as store:
        one, other = Journal(store, "s", me="one"), Journal(store, "s", me="other")
        assert propose(one, "d")
        assert not propose(other, "d")
        assert other.append_now("taken_over", 0)
        with pytest.raises(TakenOver):
            one.append("profiled", 0, metrics={}, sems={})
        with pytest.raises(TakenOver):  # also where it has read that already
            one.append("profiled", 0, metrics={}, sems={})
        other.append("completed", 0, metrics={})
        one._read_on()
        assert [trial.index for trial in one.news()] == [0] and one.news() == []


def test_who_is_gone(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        me = own_name()
        assert same_machine(me) and not same_machine(ELSEWHERE) and not same_machine(None)
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host = me.partition(" on ")[2]
        here = f"process {dead.pid} (1) on {host}"
        namesake = f"process {dead.pid} (1) on {host.partition(' (')[0]} (0123456789ab)"
        assert same_machine(here) and not same_machine(namesake)
        for name in (ELSEWHERE, here, namesake):
            store.beat("s", name)
        with Presence(store, "s", me, beat_s=0.05, lease_s=0.5) as presence:
            assert presence.gone(None) and presence.gone(here) and not presence.gone(me)
            assert presence.gone("process 2 (1) on a.machine.that.signed.off (0123456789ab)")
            assert not presence.gone(ELSEWHERE) and not presence.gone(namesake)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                store.beat("s", ELSEWHERE)
                time.sleep(0.05)
                assert not presence.gone(ELSEWHERE)
            wait_for(lambda: presence.gone(ELSEWHERE))
            newcomer = "process 3 (1) on yet.another.machine (0123456789ab)"
            store.beat("s", newcomer)
            assert not presence.gone(newcomer)
        assert me not in store.beat("s", ELSEWHERE)


def test_where_a_runs_events_lie(tmp_path: Path) -> None:
    folder, url = RunFolder(tmp_path / "run"), f"sqlite:///{tmp_path}/all.db"
    store, name = open_store(folder, "digits", url)
    store.close()
    assert name.startswith("digits-") and folder.begun and not folder.database.exists()
    store, again = open_store(folder, "digits")
    assert again == name
    store.close()
    with pytest.raises(InputError, match=r"--store: .*run was begun with sqlite:.*all\.db; go on with that"):
        open_store(folder, "digits", f"sqlite:///{tmp_path}/other.db")
    other, second = open_store(RunFolder(tmp_path / "second"), "digits", url)
    assert second != name  # two people may search the same study
    other.close()
    (tmp_path / "own").mkdir()
    store, name = open_store(RunFolder(tmp_path / "own"), "digits")
    store.close()
    assert name == "digits"
    with pytest.raises(InputError, match=r"has its own, study\.db; go on without --store"):
        open_store(RunFolder(tmp_path / "own"), "digits", url)


def test_the_store_of_a_search_is_one_file_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / "run")
    store, name = open_store(folder, "digits", "sqlite:///all.db")
    store.append(name, "started", None, {})
    store.close()
    monkeypatch.chdir(folder.path)
    store, name = open_store(folder, "digits")
    assert [event.kind for event in store.events(name)] == ["started"]
    store.close()
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        with pytest.raises(InputError, match=r"--store: given sqlite:.*, which lies in memory; accepted: a file"):
            served(RunFolder(tmp_path / "other"), url)


def test_the_front_is_closed_again_after_trials_that_came_late(tmp_path: Path) -> None:
    living: Any = SimpleNamespace(gone=lambda name: name is None)
    with Store(tmp_path / "s.db") as store:
        one, other = Journal(store, "s", me="one"), Journal(store, "s", me="other")
        for kind in ("started", "resumed"):
            one.append(kind)
        assert propose(one, "d0")
        one.append("completed", 0, metrics={})
        assert my_turn(one, living)
        assert propose(other, "d1")  # its budget is a larger one
        one.append("confirmed", 0, metrics={}, sems={})
        one.append("finished", None, reason="")
        other.append("completed", 1, metrics={})
        assert my_turn(other, living)
        other.append("confirmed", 1, metrics={}, sems={})
        other.append("finished", None, reason="")
        one._read_on()
        assert not my_turn(one, living) and not my_turn(other, living)


def test_controllers_that_begin_together_have_generators_of_their_own(tmp_path: Path) -> None:
    living: Any = SimpleNamespace(gone=lambda name: name is None)
    with Store(tmp_path / "s.db") as store:
        journals = [Journal(store, "s", me=name) for name in ("one", "other", "third")]
        for journal, kind in zip(journals, ("started", "resumed", "resumed"), strict=True):
            journal.append(kind)
        assert [seed_offset(journal, living) for journal in journals] == [0, 2, 3]
        later = Journal(store, "s", me="later")
        later.append("resumed")
        assert seed_offset(later, SimpleNamespace(gone=lambda name: name != "later")) == 0  # type: ignore[arg-type]


def test_one_that_was_away_learns_that_another_one_closes(tmp_path: Path) -> None:
    """Each has taken the other for gone; only the last one's word counts, and a local training has its own folder."""
    alone: Any = SimpleNamespace(gone=lambda name: True)
    me = own_name()
    with Store(tmp_path / "s.db") as store:
        away, here = Journal(store, "s", me=ELSEWHERE), Journal(store, "s", me=me)
        away.append("started")
        assert propose(away, "d0")
        away.append("completed", 0, metrics={})
        assert my_turn(away, alone) and folder_of(away) == 0
        here._read_on()
        assert my_turn(here, alone) and folder_of(here) == 5 == here.every("closing")[-1].seq
        with pytest.raises(TakenOver):
            away.append("confirmed", 0, metrics={"by": 1}, sems={})
        with pytest.raises(TakenOver):
            away.append("finished", None, reason="")
        here.append("confirmed", 0, metrics={"by": 2}, sems={})
        again = Journal(store, "s", me=me.replace("process ", "process 9"))
        assert my_turn(again, alone) and folder_of(again) == 5  # of this machine, too: it goes on there
        assert store.events("s")[-2].data["metrics"] == {"by": 2}
    place = RunFolder(tmp_path).trial(0)
    assert place.confirm(1).name == "confirm-1" and place.confirm(1, 5).name == "confirm-1-5"


def test_a_password_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Anything:
        def __init__(self, url: str, say: Any = None) -> None:
            opened.append(url)

        def close(self) -> None: ...

    opened: list[str] = []
    monkeypatch.setattr("nas.run_store.Store", Anything)
    folder, url = RunFolder(tmp_path / "run"), "postgresql+psycopg://ann:s3cret@host/db"
    open_store(folder, "digits", url)
    open_store(folder, "digits")
    assert opened == [url, url, "postgresql+psycopg://ann@host/db"]
    assert "s3cret" not in folder.elsewhere.read_text() and served(folder)


def test_controllers_share_a_folder_and_a_lone_search_does_not(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match=f"in use by process {os.getpid()}")
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True), refused, locked(tmp_path):
        pass
    with locked(tmp_path), pytest.raises(InputError, match="in use"), locked(tmp_path, shared=True):
        pass
