"""The nights of a suite, in the store: what was intended, what was found, how each ended.

    began      the night's name and the digest of its plan
    judging    a pair is about to be measured in a stage
    judged     what that stage said about it
    ended      the judgements of the night, its exit code and the reasons for it
    baseline   see ``benchmarks.nightly.baselines``

All under the study ``nightly/<suite>``, only ever appended. A night that has begun and not ended, less than 20 hours
ago and with the same plan, is gone on with; what was judged is not measured again. While a process works on a night it
holds a lock, which dies with it: so two runs at once are two nights.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.nightly.judgements import Judgement, Key, Stage
from profiles.clock import utc_now
from profiles.errors import UnavailableError
from profiles.store import Event, Store

_LONGEST = timedelta(hours=20)  # a night that was killed is not gone on with by the next one of cron


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One that has ended, as reports show it.

    ``changed``: (model, target) -> how the environments differ; ``devices``: target -> tonight's fingerprint;
    ``seconds``: from its beginning, with the pauses of one that was interrupted.
    """

    name: str
    time: str
    code: int
    reasons: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    changed: dict[tuple[str, str], tuple[str, ...]]
    devices: dict[str, dict[str, Any]]
    seconds: float


@dataclass(slots=True, kw_only=True)
class Diary:
    """A night under way. ``found``: what each stage has said. ``before_s``: how long ago an earlier run began it."""

    store: Store
    study: str
    night: str
    resumed: bool
    before_s: float = 0.0
    found: dict[Key, dict[Stage, Judgement]] = field(default_factory=dict)
    done: set[tuple[Stage, str, str]] = field(default_factory=set)  # stage, model, target
    over: bool = False

    def judging(self, stage: Stage, pair: tuple[str, str], device: str) -> None:
        self._append("judging", stage=stage, model=pair[0], target=pair[1], device=device)

    def judged(self, stage: Stage, pair: tuple[str, str], judgements: Sequence[Judgement], **environment: Any) -> None:
        """Durable when this returns. ``environment``: ``device`` and ``changed``, as in ``Night``, where known."""
        said = [one.to_dict() for one in judgements]
        self._append("judged", stage=stage, model=pair[0], target=pair[1], judgements=said, **environment)
        self._take(stage, pair, judgements)

    def end(self, judgements: Sequence[Judgement], code: int, reasons: Sequence[str], seconds: float) -> Night:
        said = [one.to_dict() for one in judgements]
        self._append("ended", judgements=said, code=code, reasons=list(reasons), seconds=round(seconds, 3))
        self.over = True
        return next(one for one in ended(self.store.events(self.study)) if one.name == self.night)

    def recall(self, events: Sequence[Event]) -> None:
        """What an earlier run of this night found."""
        for event in events:
            if event.kind == "judged" and event.data["night"] == self.night:
                said = [Judgement.from_dict(one) for one in event.data["judgements"]]
                pair = event.data["model"], event.data["target"]
                self._take(event.data["stage"], pair, said)

    def _take(self, stage: Stage, pair: tuple[str, str], judgements: Sequence[Judgement]) -> None:
        for one in judgements:
            self.found.setdefault(one.key, {})[stage] = one
        self.done.add((stage, *pair))

    def _append(self, kind: str, **data: Any) -> None:
        self.store.append(self.study, kind, None, {"night": self.night, **data})


def study_of(suite: str) -> str:
    """The name that a suite's events and profiles have in the store."""
    return f"nightly/{suite}"


@contextmanager
def night(store: Store, study: str, plan: str, folder: Path) -> Iterator[Diary]:
    """A new night, or one that an earlier run of the same ``plan`` (a digest) did not end. ``folder``: for locks."""
    folder.mkdir(parents=True, exist_ok=True)
    events = store.events(study)
    for name in _unfinished(events, plan):
        lock = _hold(folder / f"{name}.lock", os.O_RDWR)
        if lock is not None:
            events = store.events(study)  # as the one that held it has left them
            if name not in _unfinished(events, plan):
                os.close(lock)
                continue
            began = next(event.time for event in events if event.kind == "began" and event.data["night"] == name)
            before_s = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds())
            diary = Diary(store=store, study=study, night=name, resumed=True, before_s=before_s)
            diary.recall(events)
            break
    else:
        name = f"{utc_now()[:19].replace(':', '').replace('-', '')}Z-{secrets.token_hex(2)}"
        lock = _hold(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT)
        diary = Diary(store=store, study=study, night=name, resumed=False)
        store.append(study, "began", None, {"night": name, "plan": plan})
    try:
        yield diary
    finally:
        if diary.over:
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{name}.lock").unlink()
        if lock is not None:
            os.close(lock)


def ended(events: Sequence[Event]) -> list[Night]:
    """Oldest first."""
    began = {event.data["night"]: event.time for event in events if event.kind == "began"}
    changed: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    devices: dict[str, dict[str, dict[str, Any]]] = {}
    for event in events:
        if event.kind == "judged" and "device" in event.data:
            night, model, target = (event.data[key] for key in ("night", "model", "target"))
            devices.setdefault(night, {})[target] = event.data["device"]
            if event.data["changed"]:
                changed.setdefault(night, {})[model, target] = tuple(event.data["changed"])
    return [
        Night(
            name=(name := event.data["night"]),
            time=began.get(name, event.time),
            code=event.data["code"],
            reasons=tuple(event.data["reasons"]),
            judgements=tuple(Judgement.from_dict(one) for one in event.data["judgements"]),
            changed=changed.get(name, {}),
            devices=devices.get(name, {}),
            seconds=event.data["seconds"],
        )
        for event in events
        if event.kind == "ended"
    ]


def _unfinished(events: Sequence[Event], plan: str) -> list[str]:
    """Latest first."""
    over = {event.data["night"] for event in events if event.kind == "ended"}
    oldest = datetime.now(UTC) - _LONGEST
    return [
        event.data["night"]
        for event in reversed(events)
        if event.kind == "began"
        and event.data["plan"] == plan
        and event.data["night"] not in over
        and datetime.fromisoformat(event.time) > oldest
    ]


def _hold(path: Path, flags: int) -> int | None:
    """A descriptor with the lock, or ``None`` where another process has it, or another user, or it is not on this
    machine. Raises OSError where it cannot be made.
    """
    try:
        handle = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except (FileNotFoundError, PermissionError):
        if flags & os.O_CREAT:
            raise
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise UnavailableError(f"{path}: its file system has no locks (flock): {error.strerror}") from None
    return handle
