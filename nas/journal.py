"""What happened in a study: an append-only list of events, and the trials that follow from it.

An intent is appended before the action, so that after a crash the list says what may have been under way; the files
in the trial's folder say what was finished. ``trials_of`` is a pure function of the events.

    started       {targets, limits, ...}        proposed  {choices, digest, source, seconds}
    profiled      {metrics, sems, seconds}      gated     {reason}
    training      {attempt, earlier}            retried   {attempt, reason}
    completed     {metrics, train_s}            failed    {step, reason}
    early_stopped {reason, step, steps, hoped}  (steps: of a whole training; hoped: the best to be expected)
    fell_back     {reason}                      confirmed {metrics, sems, reason, unmeasured}
    taken_over    {}                            closing   {}
    stalled       {reason}
    interrupted / finished {reason}             account   {...}
    scouting, scouted: see nas.scouting

**Several controllers** on one study write one list. An event takes the place after the last one that its writer has
read; where another controller was quicker, the writer reads on and decides anew. So each decision is made on the whole
history: no candidate is proposed twice, and each trial has one owner, ``by`` in the data of its last ``proposed`` or
``taken_over``, as the front has by its last ``closing``. An owner that was away (stopped, cut off) and has lost a trial
meanwhile learns it with its next event.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from profiles.store import Event, Store

State = Literal["proposed", "profiled", "training", "gated", "early_stopped", "completed", "failed"]
ENDED: tuple[State, ...] = ("gated", "early_stopped", "completed", "failed")

BASELINE = "baseline"  # the source of the incumbent

Listener = Callable[[str, int | None, Mapping[str, Any]], None]

_OF_WHO_CLOSES = ("confirmed", "finished")
_READ_S = 1.0  # what other controllers write is read this often


class TakenOver(Exception):
    """The trial, or the front, is another controller's by now: whatever was done for it here is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate within a study. ``metrics`` grows as steps end; a metric that is absent was not measured."""

    index: int
    choices: dict[str, Any]  # none: a baseline that is an ONNX file
    digest: str
    source: str  # which generator proposed it, or BASELINE
    owner: str | None = None  # the controller that works on it; none: the only one there is
    state: State = "proposed"
    attempt: int = 0  # trainings begun before the present one
    metrics: dict[str, float] = field(default_factory=dict)
    sems: dict[str, float] = field(default_factory=dict)
    reason: str | None = None  # of a gated, early-stopped or failed trial
    hoped: dict[str, float] = field(default_factory=dict)  # of an early-stopped one: what it could reach at best
    confirmed: dict[str, float | None] | None = None
    confirmed_sems: dict[str, float] = field(default_factory=dict)
    confirm_reason: str | None = None
    unmeasured: str | None = None  # why it could not be measured again everywhere
    train_s: float | None = None  # how long its training ran, without standing still beside this process
    earlier: str | None = None  # the folder of that, where it was done before

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def of_space(self) -> bool:
        """A network of the study's space, and not a file from elsewhere."""
        return bool(self.choices)

    @property
    def unconfirmed(self) -> str | None:
        """Why it could not be confirmed in full, where it was tried."""
        return "; ".join(filter(None, [self.confirm_reason, self.unmeasured])) or None

    @property
    def figures(self) -> dict[str, float]:
        """Its metrics; confirmed ones take the place of those of the search."""
        again = {name: value for name, value in (self.confirmed or {}).items() if value is not None}
        return self.metrics | again


class Journal:
    """The events of one study in a store. ``listener`` hears each after it is durable, earlier ones as "recalled".

    ``me``: which controller this is; ``None``: the only one, since it holds the folder's lock.
    """

    def __init__(self, store: Store, study: str, listener: Listener | None = None, me: str | None = None) -> None:
        self._store = store
        self._study = study
        self._listener = listener
        self.me = me
        self._seq = 0
        self._read_at = time.monotonic()
        self._trials: dict[int, Trial] = {}
        self._open: dict[int, Trial] = {}
        self._states: Counter[State] = Counter()
        self._digests: set[str] = set()
        self._whole: dict[str, list[Event]] = {}  # events that concern the study as a whole, by kind
        self.worked = 0  # the place of the last event of a trial but "confirmed"
        self._news: dict[int, None] = {}
        earlier = store.events(study)
        for event in earlier:
            self._take_in(event)
        if earlier:
            self.notify("recalled", events=earlier)

    def append(self, kind: str, trial: int | None = None, **data: Any) -> None:
        """Durable when it returns. Raises TakenOver where the trial is not this controller's any more, or the front."""
        while True:
            known = self._trials.get(trial) if trial is not None else None
            if known is not None and known.owner != self.me and kind != "confirmed":
                raise TakenOver(f"trial {trial}")
            closing = self.last("closing") if kind in _OF_WHO_CLOSES and self.me is not None else None
            if closing is not None and closing.data["by"] != self.me:
                raise TakenOver("the front")
            if self.append_now(kind, trial, **data):
                return

    def append_now(self, kind: str, trial: int | None = None, **data: Any) -> bool:
        """False, and nothing appended, where another controller has written since: that is read now; decide anew."""
        if self.me is not None:
            data["by"] = self.me
        if not self._store.append_at(self._study, self._seq + 1, kind, trial, data):
            self._read_on()
            return False
        self._take_in(Event(seq=self._seq + 1, time="", kind=kind, trial=trial, data=data))
        self.notify(kind, trial, **data)
        return True

    def news(self) -> list[Trial]:
        """Trials that other controllers proposed or ended since the last call; the store is asked now and then."""
        if self.me is not None and time.monotonic() - self._read_at > _READ_S:
            self._read_on()
        found = [self._trials[index] for index in self._news]
        self._news.clear()
        return found

    def notify(self, kind: str, trial: int | None = None, **data: Any) -> None:
        """Tell the listener alone: something that need not be known after a crash."""
        if self._listener is not None:
            self._listener(kind, trial, data)

    @property
    def events(self) -> list[Event]:
        return self._store.events(self._study)

    @property
    def trials(self) -> dict[int, Trial]:
        """By index, in their order, as the events say."""
        return self._trials

    @property
    def open(self) -> list[Trial]:
        """Those that have not ended, of all controllers."""
        return list(self._open.values())

    @property
    def mine(self) -> list[Trial]:
        return [trial for trial in self._open.values() if trial.owner == self.me]

    def count(self, state: State) -> int:
        return self._states[state]

    def knows(self, digest: str) -> bool:
        """Whether that candidate was proposed."""
        return digest in self._digests

    def last(self, kind: str) -> Event | None:
        """The latest event of a kind that concerns the study as a whole."""
        return next(reversed(self.every(kind)), None)

    def every(self, kind: str) -> list[Event]:
        """All of that kind that concern the study as a whole, in their order."""
        return self._whole.get(kind, [])

    def _read_on(self) -> None:
        self._read_at = time.monotonic()
        for event in self._store.events(self._study, self._seq):
            before = self._trials.get(event.trial) if event.trial is not None else None
            self._take_in(event)
            if event.trial is not None and (before is None or self._trials[event.trial].ended != before.ended):
                self._news[event.trial] = None
            self.notify(event.kind, event.trial, **event.data)

    def _take_in(self, event: Event) -> None:
        self._seq = event.seq
        if event.trial is None:
            self._whole.setdefault(event.kind, []).append(event)
            return
        if event.kind != "confirmed":
            self.worked = event.seq
        before = self._trials.get(event.trial)
        apply(self._trials, event.kind, event.trial, event.data)
        trial = self._trials[event.trial]
        self._digests.add(trial.digest)
        if before is not None:
            self._states[before.state] -= 1
        self._states[trial.state] += 1
        if trial.ended:
            self._open.pop(trial.index, None)
        else:
            self._open[trial.index] = trial


def trials_of(events: Iterable[Event]) -> dict[int, Trial]:
    trials: dict[int, Trial] = {}
    for event in events:
        apply(trials, event.kind, event.trial, event.data)
    return trials


def apply(trials: dict[int, Trial], kind: str, index: int | None, data: Mapping[str, Any]) -> None:
    """Bring ``trials`` up to date with one event.

    A repeated event changes nothing that the first did not; events of ended trials, but ``confirmed``, are late. Of
    several ``confirmed`` the last one counts.
    """
    if index is None:
        return
    if kind == "proposed":
        trials.setdefault(
            index,
            Trial(
                index=index,
                choices=data["choices"],
                digest=data["digest"],
                source=data["source"],
                owner=data.get("by"),
            ),
        )
        return
    trial = trials[index]
    if kind == "confirmed":
        trials[index] = replace(
            trial,
            confirmed=data["metrics"],
            confirmed_sems=data["sems"],
            confirm_reason=data.get("reason"),
            unmeasured=data.get("unmeasured"),
        )
    elif not trial.ended:
        trials[index] = _advanced(trial, kind, data)


def _advanced(trial: Trial, kind: str, data: Mapping[str, Any]) -> Trial:
    match kind:
        case "profiled":
            metrics, sems = trial.metrics | data["metrics"], trial.sems | data["sems"]
            return replace(trial, state="profiled", metrics=metrics, sems=sems)
        case "gated":
            return replace(trial, state="gated", reason=data["reason"])
        case "early_stopped":
            return replace(trial, state="early_stopped", reason=data["reason"], hoped=data["hoped"])
        case "training":
            return replace(trial, state="training", attempt=data["attempt"], earlier=data.get("earlier"))
        case "taken_over":
            return replace(trial, owner=data.get("by"))
        case "retried":
            return replace(trial, state="profiled", attempt=data["attempt"], earlier=None)
        case "completed":
            metrics = trial.metrics | data["metrics"]
            return replace(trial, state="completed", metrics=metrics, train_s=data.get("train_s"))
        case "failed":
            return replace(trial, state="failed", reason=f"{data['step']}: {data['reason']}")
    return trial
