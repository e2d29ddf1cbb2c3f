"""Models on many targets, on all devices at once.

    for outcome in profile_everywhere(fleet, jobs, ["pi5", "orin"], store, label="nightly"):
        ...

A profile is in the store before its outcome is told, so that a later call with the same label measures only what is
still missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices import measure, onnxfile, reference, scheduler
from devices.fleet import Fleet
from devices.lines import Work
from devices.plan import Job, Plan
from devices.scheduler import Outcome, Policy
from devices.session import OnEvent, Session, connect
from profiles.records import Profile, Target
from profiles.store import Store


@dataclass(frozen=True, slots=True)
class Key:
    """What an outcome belongs to. ``board``: only for a target that is measured on every board of its pool."""

    target: str
    job: int  # index in the jobs given
    board: str | None = None


Prepare = Callable[[Session, Job, Target], Job]
Finish = Callable[[Session, Job, Profile], Profile]


def profile_everywhere(
    fleet: Fleet,
    jobs: Sequence[Job],
    targets: Sequence[Target],
    store: Store,
    *,
    label: str | None = None,
    plan: Plan | None = None,
    policy: Policy | None = None,
    on_event: OnEvent | None = None,
    prepare: Prepare | None = None,
    finish: Finish | None = None,
) -> Generator[Outcome, None, None]:
    """One outcome for each job on each target, with a ``Key`` and a ``Profile`` or an error; the order is that in which
    they come. ``target.device`` of a profile is the board that it was measured on, whose meter is read.

    ``label``: the study that profiles are stored under; those that it has already of the files given are not measured
    again. Of another file, which ``prepare`` makes, they are.
    ``prepare`` and ``finish`` are called in the thread of a board, before and after its measurement: they give the file
    that the target runs, and the profile that is stored. ``on_event`` is also told of "pass", as ``measure.profile``
    does, with "device" and "target".
    """
    references = _References(store)
    works = []
    known = {(digest, target) for _, digest, target in store.measured(label)} if label else set()
    for target in targets:
        boards = fleet.boards(target.device)
        each = [(board, (board,)) for board in boards] if target.name in fleet.worst else [(None, boards)]
        for index, job in enumerate(jobs):
            for board, candidates in each:
                key = Key(target.name, index, board)
                found = _stored(store, label, known, job, key)
                if found is not None:
                    yield Outcome(key=key, board=found.target.device, value=found)
                else:
                    call = _Measurement(job, target, references, plan, fleet.meters, prepare, finish, on_event)
                    works.append(Work(key=key, boards=candidates, call=call))

    def reach(board: str, tell: OnEvent) -> Session:
        return connect(fleet.devices[board], board, tell)

    running = scheduler.run(works, reach, policy=policy, on_event=on_event)
    try:
        for outcome in running:
            if isinstance(outcome.value, Profile):
                store.add_profile(outcome.value, study=label)
            yield outcome
    finally:
        running.close()


@dataclass(frozen=True, slots=True)
class _Measurement:
    job: Job
    target: Target
    references: _References
    plan: Plan | None
    meters: Mapping[str, Mapping[str, Any]]
    prepare: Prepare | None
    finish: Finish | None
    on_event: OnEvent | None

    def __call__(self, session: Session) -> Profile:
        target = dataclasses.replace(self.target, device=session.name)
        job = self.prepare(session, self.job, target) if self.prepare else self.job
        plan = self.plan or Plan()
        plan = dataclasses.replace(plan, meter=self.meters.get(session.name, plan.meter))
        # Some seconds of calibration may be ahead: not for a model whose outputs are wrong.
        if not self.references.known(session, target):
            measure.check(session, job, target, deadline_s=plan.deadline_s)

        def tell(kind: str, data: dict[str, Any]) -> None:
            session.on_event(kind, {"device": session.name, "target": target.name, **data})

        reference_ms = self.references.of(session, target)
        hear = tell if self.on_event else None
        found = measure.profile(session, job, target, reference_ms=reference_ms, plan=plan, on_event=hear)
        return self.finish(session, job, found) if self.finish else found


class _References:
    """``reference_ms`` of each board, kept while this runs. A board has one thread: nothing needs a lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, float] = {}

    def known(self, session: Session, target: Target) -> bool:
        return reference.clock(session, target) in self._known or reference.lacking(session, target, self._store) <= 0

    def of(self, session: Session, target: Target) -> float:
        clock = reference.clock(session, target)
        if clock not in self._known:
            self._known[clock] = reference.reference_ms(session, target, self._store)
        return self._known[clock]


def worst(profiles: Sequence[Profile]) -> Profile:
    """Of one model on the boards of a pool: the slowest."""
    return max(profiles, key=lambda profile: profile.latency_ms_calibrated)


def _stored(store: Store, label: str | None, known: set[tuple[str, str]], job: Job, key: Key) -> Profile | None:
    """The profile that the store has for ``key`` under ``label``; ``known``: (digest, target) of all of them."""
    if not known or (digest := onnxfile.digest(job.model), key.target) not in known:
        return None
    for profile in reversed(store.profiles(digest=digest, target=key.target, study=label)):
        if key.board in (None, profile.target.device):
            return profile
    return None
