"""A real PostgreSQL server as the store: the same tables, several controllers at once, and the server killed."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from processes import wait_for

import devices
from benchmarks.figures import _null
from benchmarks.figures._server import Server
from devices.fleet import load_fleet
from devices.measure import profile
from devices.plan import Job, Plan
from devices.session import connect
from nas.results import read_results
from profiles.database import Database
from profiles.errors import UnavailableError
from profiles.files import read_json
from profiles.migrations import VERSION_TABLE
from profiles.schema import metadata
from profiles.store import Store

pytestmark = pytest.mark.systems

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"


def test_what_is_kept_there_is_what_comes_back(postgres: Server, tmp_path: Path) -> None:
    database = Database(postgres.url)
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    context = partial(MigrationContext.configure, opts=options)
    assert database.run(lambda connection: compare_metadata(context(connection), metadata)) == []
    database.close()
    _null.write_study(tmp_path)
    fleet = load_fleet(tmp_path / "fleet.toml")
    session = connect(fleet.devices["null"], "null", lambda kind, data: None)
    try:
        measured = profile(
            session, Job(model=MODEL, name="é\u202e"), fleet.target("null"), reference_ms=1.0, plan=Plan()
        )
    finally:
        session.close()
    odd = "x'); DROP TABLE events; -- \x00 \ud800 <b>\n"
    with Store(postgres.url) as store:
        store.add_profile(measured, study="back")
        assert store.profiles(study="back") == [measured]
        assert store.profiles(digest=measured.digest, target="null") == [measured]
        store.add_reference("clock", [1.5, 2.5])
        assert store.reference_times("clock") == [1.5, 2.5] and store.reference_ms("clock") is None
        store.append("back", "proposed", 0, {"odd": odd})
        assert [event.data for event in store.events("back")] == [{"odd": odd}]
        with pytest.raises(UnavailableError, match="too long"):
            store.add_profile(dataclasses.replace(measured, digest="d" * 65))
        assert len(store.profiles(study="back")) == 1


def test_a_store_that_cannot_be_used_is_one_line_without_a_password(postgres: Server) -> None:
    for url, reason in (
        (postgres.url.replace("hwnas:", "hwnas:x"), "password authentication failed"),
        (postgres.url + "_absent", "does not exist"),
        (postgres.url.replace("127.0.0.1:", "127.0.0.1:1"), "."),
    ):
        with pytest.raises(UnavailableError, match=reason) as refused:
            Store(url)
        assert postgres.password not in str(refused.value) and "\n" not in str(refused.value)


def test_all_threads_of_a_controller_share_two_connections(postgres: Server) -> None:
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")

    def write(store: Store) -> None:
        for _ in range(20):
            store.append("many", "x", None, {})

    with Store(postgres.url) as other, Store(postgres.url) as store:
        other.events("many")
        threads = [threading.Thread(target=write, args=(store,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        most = max(other._database.run(lambda connection: connection.scalar(query)) or 0 for _ in range(50))
        for thread in threads:
            thread.join()
        assert len(store.events("many")) == 16 * 20
    assert most <= 3  # with the one that asks


def test_a_server_that_is_killed_is_waited_for_and_nothing_is_kept_twice(postgres: Server) -> None:
    said: list[str] = []
    with Store(postgres.url, said.append) as store:
        store.append("killed", "x", None, {"n": 0})
        postgres.kill()
        with subprocess.Popen(["sleep", "1"]) as later:
            later.wait()
            postgres.start()
        store.append("killed", "x", None, {"n": 1})
        assert [event.data["n"] for event in store.events("killed")] == [0, 1]
    assert len(said) == 2 and "waiting for it" in said[0] and "it answers again" in said[1]


@pytest.mark.parametrize(
    ("trials", "away_s"), [(60, 4.0), pytest.param(400, 30.0, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_two_controllers_one_of_them_killed_and_the_server_too(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int, away_s: float
) -> None:
    """The other one waits, a third takes the dead one's place; each candidate is worked on exactly once."""
    _null.write_study(tmp_path, time_ms=20)
    options = ["--resume", "--trials", str(trials), "--store", postgres.url]
    run = tmp_path / "runs" / "null"
    lasting, doomed = (_null.start(tmp_path, options, log) for log in ("lasting", "doomed"))
    running = [lasting, doomed]
    try:
        wait_for(lambda: len(owners(run, postgres.url)) == 2, 120)
        postgres.kill()
        time.sleep(away_s / 2)
        doomed.kill()
        time.sleep(away_s / 2)
        assert lasting.poll() is None
        done = len(list(run.glob("trials/*/metrics.json")))
        postgres.start()
        running.append(_null.start(tmp_path, options, "replacing"))
        codes = [process.wait(600) for process in running]
    finally:
        for process in running:
            process.kill()
    told = [(tmp_path / log).read_text() for log in ("lasting", "doomed", "replacing")]
    assert codes == [0, -signal.SIGKILL, 0], told
    assert done < trials
    assert "waiting for it" in told[0] and "it answers again" in told[0]
    assert all(postgres.password not in text for text in told)
    texts = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert not any(postgres.password.encode() in text for text in texts)

    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match="password"):
        read_results(run)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    results = read_results(run)
    assert [trial.index for trial in results.trials] == list(range(trials))
    assert {trial.state for trial in results.trials} == {"completed"}
    assert len({trial.digest for trial in results.trials}) == trials
    kinds = Counter((event.trial, event.kind) for event in results.events if event.trial is not None)
    for index in range(trials):
        assert [kinds[index, kind] for kind in ("proposed", "profiled", "completed")] == [1, 1, 1]
    assert [event.seq for event in results.events] == list(range(1, len(results.events) + 1))
    assert any(event.kind == "finished" for event in results.events)


def test_ctrl_c_while_the_server_is_away_leaves_what_was_found(postgres: Server, tmp_path: Path) -> None:
    _null.write_study(tmp_path, time_ms=20)
    run = tmp_path / "runs" / "null"
    search = _null.start(tmp_path, ["--trials", "400", "--store", postgres.url], "log")
    try:
        wait_for(lambda: len(list(run.glob("trials/*/metrics.json"))) > 5, 120)
        postgres.kill()
        wait_for(lambda: "waiting for it" in (tmp_path / "log").read_text(), 60)
        search.send_signal(signal.SIGINT)
        code = search.wait(120)
    finally:
        search.kill()
        postgres.start()
    assert code == 130 and "trials done; go on with the same command and --resume" in (tmp_path / "log").read_text()
    assert len((run / "trials.csv").read_text().splitlines()) > 5


def test_profiles_of_the_command_line_go_there_too(postgres: Server, tmp_path: Path) -> None:
    from benchmarks import exchange, measuring
    from benchmarks import profile as command

    _null.write_study(tmp_path)
    setting = measuring.Setting.of([str(MODEL)], ["null"], tmp_path / "fleet.toml", [], None, {}, postgres.url)
    command.run(
        setting, within="1%", budget="1s", interval_ms=None, timeout="1m", sweeps=[], callers=None, sustain=None,
        operators=False, json=True, csv=None,
    )  # fmt: skip
    exchange.export_csv(tmp_path / "all.csv", postgres.url, None)
    assert ",null," in (tmp_path / "all.csv").read_text()


def owners(run: Path, url: str) -> set[str]:
    """The controllers that have completed something, as the events say."""
    there = read_json(run / "store.json")
    if there is None:
        return set()
    with Store(url) as store:
        return {event.data["by"] for event in store.events(there["study"]) if event.kind == "completed"}
