"""One database behind a SQLAlchemy URL: opened, brought up to date, and waited for where it goes away for a while."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from profiles.errors import InputError, UnavailableError
from profiles.migrations import bring_up_to_date
from profiles.urls import is_secret, place_of, shown

PATIENCE_S = 300.0  # how long a server that was there once is waited for
_PAUSES_S = (0.1, 2.0)  # the first, and the longest

# A server that falls silent, or the way to it, is lost after a minute at most. In libpq's words: s, and one in ms.
_SILENCE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_LIBPQ = ("psycopg", "psycopg2")
_ERRORS = (sa.exc.DBAPIError, sa.exc.TimeoutError)  # the second: no connection came free

_T = TypeVar("_T")


class NotUnique(Exception):
    """There is such a row."""


class Database:
    """``say`` is told when the server is waited for, and when it is back; the default is Python's log, on stderr."""

    def __init__(self, url: str | Path, say: Callable[[str], object] | None = None) -> None:
        """Raises InputError on a URL that cannot be read and on tables of a newer hwnas, UnavailableError where the
        database cannot be opened, or its driver is not installed.
        """
        url = place_of(url) if isinstance(url, str) else url
        # Made of its parts: a path may hold what means something else in a URL.
        address: sa.URL | str = sa.URL.create("sqlite", database=str(url)) if isinstance(url, Path) else url
        self.name = str(url) if isinstance(url, Path) else shown(url)
        self._say = say or logging.getLogger(__name__).warning
        self._given_up = False
        try:
            self._engine = sa.create_engine(address, connect_args=_limits(address), **_pool(address))
        except (sa.exc.ArgumentError, ValueError):
            raise InputError(
                f"--store: given {self.name}; accepted: a file, or a SQLAlchemy URL such as {_EXAMPLE}"
            ) from None
        except ModuleNotFoundError as error:
            extra = "; pip install 'hwnas[postgres]'" if error.name == "psycopg" else ""
            raise UnavailableError(f"{self.name}: the package {error.name} is not installed{extra}") from None
        if not self.served:
            sa.event.listen(self._engine, "connect", _durable)
        try:
            self.run(bring_up_to_date, patience_s=0)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    @property
    def kind(self) -> str:
        """As SQLAlchemy calls it: sqlite, postgresql, ..."""
        return self._engine.dialect.name

    @property
    def served(self) -> bool:
        """By a server that several machines reach; not so a file, which takes one writer at a time."""
        return self.kind != "sqlite"

    def close(self) -> None:
        self._engine.dispose()

    def give_up(self) -> None:
        """A server that is away is not waited for until it answers again: what follows is to end soon."""
        self._given_up = True

    def run(self, work: Callable[[sa.Connection], _T], patience_s: float = PATIENCE_S) -> _T:
        """What ``work`` returns, called in a transaction, and again in a new one where the connection was lost.

        So ``work`` must do no harm when it is done twice. Raises UnavailableError where the server did not come back
        within ``patience_s``, and on all that a database refuses but a row that is not unique: ``NotUnique``.
        """
        try:
            done = self._once(work)
        except _ERRORS as error:
            reason = _first_line(error)
            if not (self.served and _lost(error) and patience_s) or self._given_up:
                raise UnavailableError(f"{self.name}: {reason}") from None
        else:
            self._given_up = False
            return done
        self._say(f"{self.name}: {reason}; waiting for it, {patience_s:g} s at most")
        try:
            return self._again(work, patience_s)
        except (UnavailableError, KeyboardInterrupt):
            self.give_up()
            raise

    def add(self, table: sa.Table, rows: Sequence[Mapping[str, Any]], once: str | None = None) -> bool:
        """All rows or none, each once. False, and none: something else has taken a place that must be unique.

        ``once``: at most 32 characters that stand for these rows, whoever adds them: they are added a single time.
        """
        token = once or secrets.token_hex(12)
        marked = [{**row, "token": f"{token}-{number}"} for number, row in enumerate(rows)]

        def insert(connection: sa.Connection) -> None:
            connection.execute(table.insert(), marked)

        def there(connection: sa.Connection) -> bool:
            query = sa.select(table.c.token).where(table.c.token == marked[0]["token"])
            return connection.execute(query).first() is not None

        try:
            self.run(insert)
        except NotUnique:
            return once is None and self.run(there)  # a first try that was committed, although nobody could say so
        return True

    def _again(self, work: Callable[[sa.Connection], _T], patience_s: float) -> _T:
        begun, pause = time.monotonic(), _PAUSES_S[0]
        while True:
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES_S[1])
            try:
                done = self._once(work)
            except _ERRORS as error:
                if _code(error) == _READ_ONLY:
                    self._engine.dispose()  # its successor may answer new connections
                if not _lost(error) or time.monotonic() - begun > patience_s:
                    raise UnavailableError(f"{self.name}: {_first_line(error)}; waited for it in vain") from None
            else:
                self._say(f"{self.name}: it answers again after {time.monotonic() - begun:.0f} s")
                return done

    def _once(self, work: Callable[[sa.Connection], _T]) -> _T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except sa.exc.IntegrityError as error:
            if not _is_unique(error):
                raise
            raise NotUnique(_first_line(error)) from None


def _is_unique(error: sa.exc.IntegrityError) -> bool:
    """And not, say, a column that must not be empty. PostgreSQL has a code for it, SQLite words."""
    return _code(error) == "23505" or "UNIQUE" in str(error.orig)


_READ_ONLY = "25006"
_EXAMPLE = "postgresql+psycopg://user@host/database"


def without_password(url: str) -> tuple[str, str | None]:
    """The URL as it may be written down, and the password that was in it."""
    given = _parsed(url)
    if given is None:
        return shown(url), None
    query = {key: value for key, value in given.query.items() if not is_secret(key)}
    plain = sa.URL.create(given.drivername, given.username, None, given.host, given.port, given.database, query)
    password = given.password or given.query.get("password")
    return plain.render_as_string(hide_password=False), None if password is None else str(password)


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL; ``None`` for a server's, and for what is no URL."""
    given = _parsed(url)
    path = given.database if given is not None and given.get_backend_name() == "sqlite" else None
    return None if not path or path.startswith("file:") else Path(path)


def in_a_file(url: str) -> str:
    """A URL of SQLite with the whole path of its file; any other as it is.

    Raises InputError where the database would lie in memory and end with its process.
    """
    given = _parsed(url)
    if given is None or given.get_backend_name() != "sqlite":
        return url
    path = given.database or ""
    if path in ("", "file:") or ":memory:" in path or given.query.get("mode") == "memory":
        raise InputError(f"--store: given {shown(url)}, which lies in memory; accepted: a file, or a database server")
    if path.startswith("file:"):
        return url
    return given.set(database=str(Path(path).absolute())).render_as_string(hide_password=False)


def _parsed(url: str) -> sa.URL | None:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None


def _limits(address: sa.URL | str) -> dict[str, int]:
    """Of how long a server may be silent, but those that the URL itself sets."""
    url = sa.make_url(address)
    if url.get_backend_name() != "postgresql" or url.get_driver_name() not in _LIBPQ:
        return {}
    return {key: limit for key, limit in _SILENCE.items() if key not in url.query}


def _pool(address: sa.URL | str) -> dict[str, int]:
    """A server's connections are few and shared by many: two for all threads, each of which has one for a moment."""
    return {} if sa.make_url(address).get_backend_name() == "sqlite" else {"pool_size": 2, "max_overflow": 0}


def _lost(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> bool:
    """The connection, and not the statement, is at fault."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if _code(error) == _READ_ONLY:  # a standby, while another server takes over
        return True
    return error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def _code(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> str | None:
    """PostgreSQL's, as psycopg and psycopg2 call it."""
    orig = getattr(error, "orig", None)
    found: str | None = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return found


def _first_line(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> str:
    cause = error.args[0] if isinstance(error, sa.exc.TimeoutError) else error.orig
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _durable(connection: Any, _: object) -> None:
    """SQLite: a commit survives a power cut, and a second process waits instead of failing."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=30000")
