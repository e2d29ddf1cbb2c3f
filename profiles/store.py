"""Where everything measured is kept: one schema for profiles, comparisons, events and calibration references.

``study.db`` in a run folder, ``hwnas.db`` beside the fleet file otherwise; any SQLAlchemy URL will do. Rows are only
ever added. Not covered: raw model files, which stay in the run folder.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from profiles import frames
from profiles.clock import utc_now
from profiles.comparisons import Comparison
from profiles.errors import InputError, UnavailableError
from profiles.records import Profile, Target, digest_of

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_COUNT = 20  # records of a fingerprint after which its calibration reference is fixed

_TIMES = b', "blocks": [['  # in a record's JSON; what has no raw times has "blocks": []
_PIECE = 1 << 14  # bytes

_schema = sa.MetaData()

_profiles = sa.Table(
    "profiles",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("study", sa.String(128), index=True),
    sa.Column("trial", sa.Integer),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("target", sa.String(128), nullable=False, index=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),  # zlib of the JSON with raw times
)

_events = sa.Table(
    "events",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("study", sa.String(128), nullable=False, index=True),
    sa.Column("trial", sa.Integer),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
)

_comparisons = sa.Table(
    "comparisons",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("base", sa.String(64), nullable=False, index=True),  # digests
    sa.Column("other", sa.String(64), nullable=False, index=True),
    sa.Column("target", sa.String(128), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),  # zlib of the JSON with raw times
)

_references = sa.Table(
    "references",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("clock", sa.String(64), nullable=False, index=True),  # clock_of(...)
    sa.Column("calibration_ms", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a study's history. ``trial`` is ``None`` where the event concerns the study as a whole."""

    id: int
    time: str
    kind: str
    trial: int | None
    data: dict[str, Any]


def clock_of(fingerprint: dict[str, Any], target: Target, calibration_digest: str) -> str:
    """What a calibration reference belongs to: this device, in this state, with these settings and this model.

    The device's name counts: two equal boards are not equally fast.
    """
    settings = [target.device, target.engine, target.provider, target.precision, target.threads, target.batch]
    if not target.transfers:
        settings.append("no transfers")
    if target.python is not None:
        settings.append(target.python)
    return digest_of([fingerprint, settings, calibration_digest])


class Store:
    """A database that is created where it is missing. Close it, or use it as a context manager."""

    def __init__(self, url: str | Path) -> None:
        """``url``: a SQLAlchemy URL, or the path of an SQLite file.

        Raises InputError on a URL that cannot be read, UnavailableError where the database cannot be opened.
        """
        self.url = f"sqlite:///{url}" if isinstance(url, Path) else url
        try:
            self._engine = sa.create_engine(self.url)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise InputError(f"--store: given {self.url}; accepted: a SQLAlchemy URL or a file ({error})") from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        with self._begin() as connection:
            _schema.create_all(connection)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Events

    def append(self, study: str, kind: str, trial: int | None, data: dict[str, Any]) -> None:
        """Durable when this returns. NaN in ``data`` is refused (ValueError)."""
        text = json.dumps(data, allow_nan=False)
        with self._begin() as connection:
            connection.execute(_events.insert().values(time=utc_now(), study=study, trial=trial, kind=kind, data=text))

    def events(self, study: str) -> list[Event]:
        """In the order in which they were appended."""
        query = sa.select(_events).where(_events.c.study == study).order_by(_events.c.id)
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [Event(id=r.id, time=r.time, kind=r.kind, trial=r.trial, data=json.loads(r.data)) for r in rows]

    # Profiles

    def add_profile(self, profile: Profile, *, study: str | None = None, trial: int | None = None) -> None:
        record = zlib.compress(json.dumps(profile.to_dict(), allow_nan=False).encode())
        row = {
            "time": profile.time,
            "study": study,
            "trial": trial,
            "model": profile.model,
            "digest": profile.digest,
            "target": profile.target.name,
            "fingerprint": digest_of(profile.device),
            "record": record,
        }
        with self._begin() as connection:
            connection.execute(_profiles.insert().values(row))

    def profiles(
        self,
        *,
        model: str | None = None,
        digest: str | None = None,
        target: str | None = None,
        study: str | None = None,
        raw: bool = True,
    ) -> list[Profile]:
        """Oldest first. ``raw=False`` leaves out the single times, without which reading is some 20 times faster."""
        query = sa.select(_profiles.c.record).order_by(_profiles.c.id)
        if model is not None:
            query = query.where(_profiles.c.model == model)
        if digest is not None:
            query = query.where(_profiles.c.digest == digest)
        if target is not None:
            query = query.where(_profiles.c.target == target)
        if study is not None:
            query = query.where(_profiles.c.study == study)
        with self._begin() as connection:
            read = _whole if raw else _without_times
            return [Profile.from_dict(read(record)) for record in connection.execute(query).scalars()]

    def models(self) -> list[tuple[str, str, str]]:
        """(model, digest, target) of whatever was profiled, each once, sorted."""
        columns = (_profiles.c.model, _profiles.c.digest, _profiles.c.target)
        with self._begin() as connection:
            rows = connection.execute(sa.select(*columns).distinct().order_by(*columns))
            return [(row.model, row.digest, row.target) for row in rows]

    def measured(self, study: str) -> list[tuple[str, str, str]]:
        """(model, digest, target) of each profile of a study, oldest first."""
        columns = (_profiles.c.model, _profiles.c.digest, _profiles.c.target)
        query = sa.select(*columns).where(_profiles.c.study == study).order_by(_profiles.c.id)
        with self._begin() as connection:
            return [(row.model, row.digest, row.target) for row in connection.execute(query)]

    def frame(self) -> pd.DataFrame:
        """See ``profiles.frames``: one row per profile, no raw times."""
        return frames.frame(self.profiles())

    def times_frame(self) -> pd.DataFrame:
        """See ``profiles.frames``: one row per raw time."""
        return frames.times_frame(self.profiles())

    # Comparisons

    def add_comparison(self, comparison: Comparison) -> None:
        record = zlib.compress(json.dumps(comparison.to_dict(), allow_nan=False).encode())
        row = {
            "time": comparison.time,
            "base": comparison.base_digest,
            "other": comparison.other_digest,
            "target": comparison.target.name,
            "verdict": comparison.verdict.verdict,
            "record": record,
        }
        with self._begin() as connection:
            connection.execute(_comparisons.insert().values(row))

    def comparisons(self) -> list[dict[str, Any]]:
        """As ``Comparison.to_dict`` gives them, oldest first."""
        with self._begin() as connection:
            records = connection.execute(sa.select(_comparisons.c.record).order_by(_comparisons.c.id)).scalars().all()
        return [json.loads(zlib.decompress(record)) for record in records]

    # Calibration references

    def add_reference(self, clock: str, times_ms: Sequence[float]) -> None:
        """Add the calibration model's times; those after the first ``REFERENCE_COUNT`` change nothing."""
        rows = [{"time": utc_now(), "clock": clock, "calibration_ms": time_ms} for time_ms in times_ms]
        with self._begin() as connection:
            connection.execute(_references.insert(), rows)

    def reference_times(self, clock: str) -> list[float]:
        """The first ``REFERENCE_COUNT`` times in ms, oldest first."""
        query = (
            sa.select(_references.c.calibration_ms)
            .where(_references.c.clock == clock)
            .order_by(_references.c.id)
            .limit(REFERENCE_COUNT)
        )
        with self._begin() as connection:
            return list(connection.execute(query).scalars())

    def reference_ms(self, clock: str) -> float | None:
        """Median of the first ``REFERENCE_COUNT`` times, ``None`` before there are that many."""
        times = self.reference_times(clock)
        return float(np.median(times)) if len(times) == REFERENCE_COUNT else None

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise UnavailableError(f"{self.url}: {error.orig}") from error


def _whole(record: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zlib.decompress(record))
    return found


def _without_times(record: bytes) -> dict[str, Any]:
    """The raw times stand last and are nearly all of a record: they are not even unpacked."""
    unpacking = zlib.decompressobj()
    text = piece = unpacking.decompress(record, _PIECE)
    while piece and _TIMES not in text:
        piece = unpacking.decompress(unpacking.unconsumed_tail, _PIECE)
        text += piece
    head, marker, _ = text.partition(_TIMES)
    found: dict[str, Any] = json.loads(head + b"}" if marker else text)
    return found


def _durable(connection: Any, _: object) -> None:
    """SQLite: a commit survives a power cut, and a second process waits instead of failing."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=30000")
