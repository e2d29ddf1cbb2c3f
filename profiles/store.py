"""Where everything measured is kept: one schema for profiles, comparisons, events and calibration references.

``study.db`` in a run folder, ``hwnas.db`` beside the fleet file otherwise; any SQLAlchemy URL will do. Rows are only
ever added. Not covered: raw model files, which stay in the run folder.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from profiles import frames
from profiles.clock import utc_now
from profiles.comparisons import Comparison
from profiles.database import Database
from profiles.records import Profile, Target, digest_of
from profiles.schema import comparisons as _comparisons
from profiles.schema import controllers as _controllers
from profiles.schema import events as _events
from profiles.schema import profiles as _profiles
from profiles.schema import references as _references

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_COUNT = 20  # records of a fingerprint after which its calibration reference is fixed

_TIMES = b', "blocks": [['  # in a record's JSON; what has no raw times has "blocks": []
_PIECE = 1 << 14  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a study's history, ``seq`` its place there from 1. ``trial`` is ``None`` where the event concerns the
    study as a whole."""

    seq: int
    time: str
    kind: str
    trial: int | None
    data: dict[str, Any]


# Of how hwnas times a model: after a change of that an older reference would shift all figures.
_TIMING = "2: primed"


def clock_of(fingerprint: dict[str, Any], target: Target, calibration_digest: str) -> str:
    """What a calibration reference belongs to: this device, in this state, with these settings, this model and timing.

    The device's name counts: two equal boards are not equally fast.
    """
    settings = [target.device, target.engine, target.provider, target.precision, target.threads, target.batch]
    if not target.transfers:
        settings.append("no transfers")
    if target.python is not None:
        settings.append(target.python)
    return digest_of([fingerprint, settings, calibration_digest, _TIMING])


class Store:
    """A database that is created where it is missing. Close it, or use it as a context manager.

    A server that goes away for a while is waited for, see ``Database.run``: nothing is lost and nothing kept twice.
    """

    def __init__(self, url: str | Path, say: Callable[[str], object] | None = None) -> None:
        """``url``: a SQLAlchemy URL, or the path of an SQLite file. Raises and says what ``Database`` does."""
        self._database = Database(url, say)
        self.name = self._database.name  # for people, without a password

    def close(self) -> None:
        self._database.close()

    def give_up(self) -> None:
        """As ``Database.give_up``: of who was interrupted."""
        self._database.give_up()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Events

    def append(self, study: str, kind: str, trial: int | None, data: dict[str, Any]) -> None:
        """Durable when this returns. NaN in ``data`` is refused (ValueError)."""
        last = sa.select(sa.func.max(_events.c.seq)).where(_events.c.study == study)
        while not self.append_at(study, self._scalar(last, 0) + 1, kind, trial, data):
            pass  # somebody else was quicker

    def append_at(self, study: str, seq: int, kind: str, trial: int | None, data: dict[str, Any]) -> bool:
        """Like ``append``, if the place ``seq`` is free; else False, and nothing is changed.

        Who asks for the place after the last event that it knows has decided on the whole history, or learns that it
        has not: this is all that several controllers need to agree on.
        """
        text = json.dumps(data, allow_nan=False)
        row = {"time": utc_now(), "study": study, "trial": trial, "kind": kind, "data": text, "seq": seq}
        return self._database.add(_events, [row])

    def events(self, study: str, after: int = 0) -> list[Event]:
        """In the order in which they were appended; those with a ``seq`` above ``after``."""
        query = sa.select(_events).where(_events.c.study == study, _events.c.seq > after).order_by(_events.c.seq)
        return [
            Event(seq=r.seq, time=r.time, kind=r.kind, trial=r.trial, data=json.loads(r.data))
            for r in self._rows(query)
        ]

    # Controllers

    def beat(self, study: str, controller: str) -> dict[str, int]:
        """Say that ``controller`` lives; all that said so of themselves, with how often. One try, no waiting."""
        own = (_controllers.c.study == study, _controllers.c.name == controller)

        def beat(connection: sa.Connection) -> dict[str, int]:
            again = connection.execute(_controllers.update().where(*own).values(beat=_controllers.c.beat + 1))
            if not again.rowcount:
                connection.execute(_controllers.insert().values(study=study, name=controller, beat=1))
            query = sa.select(_controllers.c.name, _controllers.c.beat).where(_controllers.c.study == study)
            return {row.name: row.beat for row in connection.execute(query)}

        return self._database.run(beat, patience_s=0)

    def leave(self, study: str, controller: str) -> None:
        """``controller`` works on the study no longer. One try, no waiting."""
        gone = _controllers.delete().where(_controllers.c.study == study, _controllers.c.name == controller)
        self._database.run(lambda connection: connection.execute(gone), patience_s=0)

    # Profiles

    def add_profile(
        self, profile: Profile, *, study: str | None = None, trial: int | None = None, once: str | None = None
    ) -> bool:
        """``once``: see ``Database.add``. False: it was there."""
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
        return self._database.add(_profiles, [row], once)

    def profiles(
        self,
        *,
        model: str | None = None,
        digest: str | None = None,
        target: str | None = None,
        study: str | None = None,
        raw: bool = True,
    ) -> list[Profile]:
        """Oldest first. ``raw=False`` leaves out the single times, most of a record, without unpacking them.

        One that cannot be read is left out, and told of in Python's log: the others are worth having.
        """
        query = sa.select(_profiles.c.id, _profiles.c.record).order_by(_profiles.c.id)
        if model is not None:
            query = query.where(_profiles.c.model == model)
        if digest is not None:
            query = query.where(_profiles.c.digest == digest)
        if target is not None:
            query = query.where(_profiles.c.target == target)
        if study is not None:
            query = query.where(_profiles.c.study == study)
        read = _whole if raw else _without_times
        found = []
        for row in self._rows(query):
            try:
                found.append(Profile.from_dict(read(row.record)))
            except (zlib.error, ValueError, KeyError, TypeError) as error:
                what = f"{type(error).__name__}: {error}"
                logging.getLogger(__name__).warning("%s: profile %d cannot be read (%s)", self.name, row.id, what)
        return found

    def models(self) -> list[tuple[str, str, str]]:
        """(model, digest, target) of whatever was profiled, each once, sorted."""
        columns = (_profiles.c.model, _profiles.c.digest, _profiles.c.target)
        rows = self._rows(sa.select(*columns).distinct().order_by(*columns))
        return [(row.model, row.digest, row.target) for row in rows]

    def measured(self, study: str) -> list[tuple[str, str, str]]:
        """(model, digest, target) of each profile of a study, oldest first."""
        columns = (_profiles.c.model, _profiles.c.digest, _profiles.c.target)
        query = sa.select(*columns).where(_profiles.c.study == study).order_by(_profiles.c.id)
        return [(row.model, row.digest, row.target) for row in self._rows(query)]

    def frame(self) -> pd.DataFrame:
        """See ``profiles.frames``: one row per profile, no raw times."""
        return frames.frame(self.profiles(raw=False))

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
        self._database.add(_comparisons, [row])

    def comparisons(self) -> list[dict[str, Any]]:
        """As ``Comparison.to_dict`` gives them, oldest first."""
        query = sa.select(_comparisons.c.record).order_by(_comparisons.c.id)
        return [json.loads(zlib.decompress(row.record)) for row in self._rows(query)]

    # Calibration references

    def add_reference(self, clock: str, times_ms: Sequence[float]) -> None:
        """Add the calibration model's times; those after the first ``REFERENCE_COUNT`` change nothing."""
        rows = [{"time": utc_now(), "clock": clock, "calibration_ms": time_ms} for time_ms in times_ms]
        self._database.add(_references, rows)

    def reference_times(self, clock: str) -> list[float]:
        """The first ``REFERENCE_COUNT`` times in ms, oldest first."""
        query = (
            sa.select(_references.c.calibration_ms)
            .where(_references.c.clock == clock)
            .order_by(_references.c.id)
            .limit(REFERENCE_COUNT)
        )
        return [row.calibration_ms for row in self._rows(query)]

    def reference_ms(self, clock: str) -> float | None:
        """Median of the first ``REFERENCE_COUNT`` times, ``None`` before there are that many."""
        times = self.reference_times(clock)
        return float(np.median(times)) if len(times) == REFERENCE_COUNT else None

    def size_mb(self) -> float | None:
        """On the database's disk; ``None`` where it does not say."""
        asked = {
            "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            "postgresql": "SELECT pg_database_size(current_database())",
        }.get(self._database.kind)
        if asked is None:
            return None
        return self._database.run(lambda connection: int(connection.execute(sa.text(asked)).scalar_one())) / 1e6

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return self._database.run(lambda connection: connection.execute(query).all())

    def _scalar(self, query: sa.Select[Any], default: int) -> int:
        return self._database.run(lambda connection: connection.execute(query).scalar()) or default


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
