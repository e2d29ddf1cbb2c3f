"""The store's tables: made, brought up to date and refused; rows that are added once; messages without a password."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from profiles.database import Database, NotUnique, _limits, _lost, file_of, without_password
from profiles.errors import InputError, UnavailableError
from profiles.migrations import VERSION_TABLE
from profiles.schema import VERSION, events, metadata
from profiles.store import Store
from profiles.urls import shown

# What the first hwnas wrote, before stores had a version.
VERSION_1 = """
CREATE TABLE profiles (id INTEGER NOT NULL, time VARCHAR(32) NOT NULL, study VARCHAR(128), trial INTEGER,
    model TEXT NOT NULL, digest VARCHAR(64) NOT NULL, target VARCHAR(128) NOT NULL, fingerprint VARCHAR(64) NOT NULL,
    record BLOB NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_profiles_study ON profiles (study);
CREATE INDEX ix_profiles_digest ON profiles (digest);
CREATE INDEX ix_profiles_target ON profiles (target);
CREATE INDEX ix_profiles_fingerprint ON profiles (fingerprint);
CREATE TABLE events (id INTEGER NOT NULL, time VARCHAR(32) NOT NULL, study VARCHAR(128) NOT NULL, trial INTEGER,
    kind VARCHAR(32) NOT NULL, data TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_events_study ON events (study);
CREATE TABLE comparisons (id INTEGER NOT NULL, time VARCHAR(32) NOT NULL, base VARCHAR(64) NOT NULL,
    other VARCHAR(64) NOT NULL, target VARCHAR(128) NOT NULL, verdict VARCHAR(16) NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (id));
CREATE INDEX ix_comparisons_base ON comparisons (base);
CREATE INDEX ix_comparisons_other ON comparisons (other);
CREATE TABLE "references" (id INTEGER NOT NULL, time VARCHAR(32) NOT NULL, clock VARCHAR(64) NOT NULL,
    calibration_ms FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_references_clock ON "references" (clock);
INSERT INTO profiles VALUES (7, 't', 's', 0, 'm', 'd', 'local', 'f', x'00ff');
INSERT INTO events VALUES (3, 't3', 's', NULL, 'started', '{}'), (4, 't4', 'other', 0, 'proposed', '{"a": 1}'),
    (9, 't9', 's', 0, 'proposed', '{"a": 2}');
INSERT INTO comparisons VALUES (1, 't', 'a', 'b', 'local', 'same', x'01');
INSERT INTO "references" VALUES (1, 't', 'c', 1.5), (2, 't', 'c', 2.5);
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "study.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    return path


def difference(database: Database) -> list[object]:
    """Between the tables that are there and those of ``profiles.schema``."""
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    return database.run(
        lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    )


def test_an_old_store_is_brought_up_to_date_without_loss(old: Path) -> None:
    tables = ["profiles", "events", "comparisons", "references"]
    before = {name: rows(old, name) for name in tables}
    with Store(old) as store:
        assert [(event.seq, event.kind, event.data) for event in store.events("s")] == [
            (1, "started", {}),
            (2, "proposed", {"a": 2}),
        ]
        assert [event.seq for event in store.events("other")] == [1]
        store.append("s", "profiled", 0, {})
        store.add_reference("c", [3.5])
        assert store.reference_times("c") == [1.5, 2.5, 3.5]
    after = {name: rows(old, name) for name in tables}
    for name in tables:  # what was added stands behind what was there
        assert [row[: len(before[name][0])] for row in after[name]][: len(before[name])] == before[name]
    assert difference(Database(old)) == []


def test_a_new_store_has_the_tables_of_the_schema(tmp_path: Path) -> None:
    assert difference(Database(tmp_path / "new.db")) == []


def test_an_old_store_that_cannot_be_upgraded_stays_what_it_is(old: Path) -> None:
    """The way is gone whole or not at all: here the last step fails."""
    connection = sqlite3.connect(old)
    connection.executescript("CREATE TABLE controllers (mine INTEGER)")
    connection.close()
    with pytest.raises(UnavailableError, match="controllers"):
        Store(old)
    assert len(rows(old, "events")[0]) == 6


def test_tables_of_another_program_are_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "theirs.db")
    connection.execute("CREATE TABLE events (what TEXT)")
    connection.close()
    with pytest.raises(
        InputError, match=r"theirs\.db: given a database in which another program has the table events;"
    ):
        Store(tmp_path / "theirs.db")
    connection = sqlite3.connect(tmp_path / "theirs.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("events",)]
    connection.close()


def test_a_server_that_only_reads_is_one_that_is_away() -> None:
    orig = type("ReadOnlySqlTransaction", (Exception,), {"sqlstate": "25006"})()
    assert _lost(sa.exc.InternalError("INSERT", {}, orig))
    assert not _lost(sa.exc.InternalError("INSERT", {}, Exception()))


def test_a_store_of_a_newer_hwnas_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '99'")
    connection.commit()
    connection.close()
    with pytest.raises(
        InputError, match=rf"study\.db: given tables of version 99, .*accepted: up to version {VERSION}"
    ):
        Store(path)


def test_several_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from profiles.store import Store\n"
    code += "with Store(Path(sys.argv[1])) as store: [store.append('s', 'x', None, {}) for _ in range(5)]"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s.db")]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with Store(tmp_path / "s.db") as store:
        assert [event.seq for event in store.events("s")] == list(range(1, 16))


def test_a_path_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("what?.db", "a%20b.db", "plain.db"):
        Store(tmp_path / name).close()
        assert file_of(f"sqlite:///{tmp_path}/plain.db") == tmp_path / "plain.db"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a%20b.db", "plain.db", "what?.db"]
    monkeypatch.chdir(tmp_path)
    Store("relative.db").close()
    assert Path("relative.db").is_file()
    assert file_of("postgresql+psycopg://ann@db/hwnas") is file_of("sqlite://") is file_of("plain.db") is None


def test_a_place_is_taken_once(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        assert store.append_at("s", 1, "started", None, {})
        assert not store.append_at("s", 1, "started", None, {"another": True})
        assert store.append_at("other", 1, "started", None, {})
        assert [event.data for event in store.events("s")] == [{}]
        assert store.events("s", after=1) == []


def test_a_row_whose_commit_was_not_confirmed_is_not_added_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost after the commit, so that the database refuses the second try: it is our own row."""
    database = Database(tmp_path / "s.db")
    run = database.run

    def twice(work: object, patience_s: float = 0) -> object:
        if getattr(work, "__name__", "") == "insert":
            run(work)  # type: ignore[arg-type]
        return run(work)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", twice)
    row = {"time": "t", "study": "s", "trial": None, "kind": "k", "data": "{}", "seq": 1}
    assert database.add(events, [row])
    assert not database.add(events, [row])
    count = sa.select(sa.func.count()).select_from(events)
    assert run(lambda connection: connection.execute(count).scalar()) == 1


def test_what_must_be_unique_is_told_apart_from_other_errors(tmp_path: Path) -> None:
    database = Database(tmp_path / "s.db")
    row = {"time": "t", "study": "s", "trial": None, "kind": "k", "data": "{}", "seq": 1}
    database.run(lambda connection: connection.execute(events.insert(), [row]))
    with pytest.raises(NotUnique):
        database.run(lambda connection: connection.execute(events.insert(), [row]))
    with pytest.raises(UnavailableError, match=r"s\.db: no such table: absent"):
        database.run(lambda connection: connection.execute(sa.text("SELECT * FROM absent")))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:s3cret@127.0.0.1:1/hwnas",
        "postgresql+psycopg://ann:s3cret@@127.0.0.1:1/hwnas",
        "nonsense+driver://ann:s3cret@host/hwnas",
        "mysql+nodriver://ann:s3cret@host/hwnas",
        "postgresql://ann:s3cret@127.0.0.1:notaport/hwnas",
    ],
)
def test_no_message_holds_a_password(url: str) -> None:
    with pytest.raises((InputError, UnavailableError)) as refused:
        Store(url)
    assert "s3cret" not in str(refused.value) and "ann:***@" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_server_may_be_silent_for_as_long_as_the_url_says() -> None:
    limits = _limits("postgresql+psycopg://ann@host/hwnas?connect_timeout=60")
    assert "connect_timeout" not in limits and limits["tcp_user_timeout"] == 30_000
    assert _limits("sqlite:///s.db") == _limits("postgresql+asyncpg://host/hwnas") == {}


def test_where_no_connection_comes_free_the_store_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "s.db")
    database._given_up = True
    database.run(lambda connection: None)
    assert not database._given_up

    def never(work: object) -> None:
        raise sa.exc.TimeoutError("no connection came free", code="3o7r")

    monkeypatch.setattr(database, "_once", never)
    with pytest.raises(UnavailableError, match=r"s\.db: no connection came free$"):
        database.run(lambda connection: None)


def test_passwords_are_taken_out_of_urls() -> None:
    assert shown("postgresql+psycopg://ann:a:b@c@host/db") == "postgresql+psycopg://ann:***@host/db"
    assert shown("postgresql://host/db?user=ann&password=abc&x=1") == "postgresql://host/db?user=ann&password=***&x=1"
    assert shown("sqlite:///a/b.db") == "sqlite:///a/b.db"
    assert shown("postgresql+psycopg://ann@corp:s3cret@db/x") == "postgresql+psycopg://ann@corp:***@db/x"
    assert (
        shown("postgresql://h/db?sslpassword=abc&sslmode=require")
        == "postgresql://h/db?sslpassword=***&sslmode=require"
    )
    assert shown("postgresql://h/db?passfile=/x&api_key=1") == "postgresql://h/db?passfile=/x&api_key=***"
    assert without_password("postgresql://h/db?sslpassword=a&sslmode=require")[0] == "postgresql://h/db?sslmode=require"
    assert shown("mssql+pyodbc:///?odbc_connect=DRIVER%3Da%3BPWD%3Db") == "mssql+pyodbc:///?odbc_connect=***"
    assert without_password("postgresql://h/db?password=abc&x=1") == ("postgresql://h/db?x=1", "abc")
    assert without_password("postgresql://ann:p%40ss@host/db") == ("postgresql://ann@host/db", "p@ss")
    assert without_password("postgresql://ann@host/db") == ("postgresql://ann@host/db", None)


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f'SELECT * FROM "{table}" ORDER BY id').fetchall()
    finally:
        connection.close()
