"""Candidates that are measured and not trained, to teach the models of latency, energy and memory.

    [search]
    scouting = 64

They are spread in feature space and taken while trainings run, each where it costs less than it is worth: a twentieth
of a training (``nas.trained.COST``). A scouted candidate stays to be proposed; if it is, it is not measured again.

    scouting  {choices, digest}      scouted  {digest, metrics, sems, seconds} or {digest, reason, seconds}

The events are of the study as a whole. Of several controllers each measures what it has claimed; a claim whose
controller is gone is a lost one of ``scouting``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nas.folder import TrialFolder
from nas.jobs import Jobs
from nas.journal import Journal, Trial
from nas.plan import Plan
from nas.proposals import Proposal, Proposals
from nas.spaces import digest
from nas.steps import Candidates
from nas.trained import COST
from profiles import files
from profiles.errors import HwnasError
from profiles.store import Event

SOURCE = "scouting"

Measure = Callable[[Trial, TrialFolder], tuple[dict[str, float], dict[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scout:
    """``metrics``: none before it was measured, and where that failed (``reason``)."""

    choices: dict[str, Any]
    digest: str
    owner: str | None = None
    ended: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    sems: dict[str, float] = field(default_factory=dict)
    reason: str | None = None

    def as_told(self, metrics: Sequence[str]) -> dict[str, Any]:
        """For the generator: the modelled ``metrics`` only."""
        values = {name: self.metrics[name] for name in metrics if name in self.metrics}
        sems = {name: self.sems[name] for name in values if name in self.sems}
        return {"config": self.choices, "status": "scouted", "values": values, "sems": sems}


def scouts_of(events: Iterable[Event]) -> dict[str, Scout]:
    """By digest, in their order. Events of other kinds are passed over."""
    scouts: dict[str, Scout] = {}
    for event in events:
        data = event.data
        if event.kind == "scouting":
            one = Scout(choices=data["choices"], digest=data["digest"], owner=data.get("by"))
            scouts.setdefault(one.digest, one)
        elif event.kind == "scouted" and not scouts[data["digest"]].ended:
            figures = {name: data[name] for name in ("metrics", "sems", "reason") if name in data}
            scouts[data["digest"]] = replace(scouts[data["digest"]], ended=True, **figures)
    return scouts


def scouts_in(journal: Journal) -> dict[str, Scout]:
    """As ``scouts_of`` gives them, of all that the journal has read."""
    events = [*journal.every("scouting"), *journal.every("scouted")]
    return scouts_of(sorted(events, key=lambda event: event.seq))


class Scouting:
    def __init__(self, plan: Plan, candidates: Candidates, journal: Journal, jobs: Jobs, proposals: Proposals) -> None:
        self._plan = plan
        self._candidates = candidates
        self._journal = journal
        self._jobs = jobs
        self._proposals = proposals
        self._profiles_s: list[float] = []  # of this session
        self._told: set[str] = set()
        self._known: dict[str, Scout] = {}
        self._known_after = (0, 0)  # so many events of either kind

    @property
    def wanted(self) -> bool:
        """Whether one more is worth its time by now."""
        most = self._plan.study.search.scouting
        if not most or not self._jobs.running or not self._profiles_s or self._proposals.scouted_out:
            return False
        if len(self._journal.every("scouting")) >= most:
            return False
        trained = [trial.train_s for trial in self._journal.trials.values() if trial.train_s is not None]
        training_s = max(float(np.mean(trained)) if trained else 0.0, self._jobs.longest_s)
        return float(np.median(self._profiles_s)) * COST < training_s

    def took(self, seconds: float) -> None:
        """So long a profile took."""
        self._profiles_s.append(seconds)

    def hear(self) -> None:
        """Tell the generator what was scouted, here or by another controller."""
        for scout in self._scouts().values():
            if scout.metrics and scout.digest not in self._told:
                self._told.add(scout.digest)
                self._proposals.tell(scout.as_told(self._plan.modelled))

    def take(self, proposal: Proposal) -> None:
        """Claim what the generator has chosen, unless another controller was quicker or has proposed it."""
        identity = digest(self._plan.study.full_space, proposal.choices)
        while not self._journal.knows(identity) and identity not in self._scouts():
            if len(self._journal.every("scouting")) >= self._plan.study.search.scouting:
                return
            if self._journal.append_now("scouting", None, choices=proposal.choices, digest=identity):
                return

    def lend(self, trial: Trial) -> bool:
        """Its files and profiles, so that the trial need not be measured again. False where it was not scouted."""
        if trial.digest not in self._scouts():
            return False
        folder = self._plan.folder.trial(trial.index).path
        for path in sorted(self._plan.folder.scout(trial.digest).path.glob("[!.]*")):
            if not (folder / path.name).exists():
                files.write_bytes(folder / path.name, path.read_bytes())
        return True

    def measure_next(self, measure: Measure) -> bool:
        """One that this controller has claimed. False where there is none.

        Raises UnavailableError where it is not the candidate's fault that it fails: a full disk, a device that is gone.
        """
        owned = (s for s in self._scouts().values() if not s.ended and s.owner == self._journal.me)
        scout = next(owned, None)
        if scout is None:
            return False
        begun = time.monotonic()
        trial = Trial(index=-1, choices=scout.choices, digest=scout.digest, source=SOURCE)
        try:
            metrics, sems = measure(trial, self._plan.folder.scout(scout.digest))
        except HwnasError as error:
            self._plan.folder.check_room(str(error))
            self._candidates.bench.connect()
            self._end(scout, begun, reason=str(error)[:2000])
            return True
        self.took(time.monotonic() - begun)
        self._end(scout, begun, metrics=metrics, sems=sems)
        self.hear()
        return True

    def _end(self, scout: Scout, begun: float, **found: Any) -> None:
        self._journal.append("scouted", None, digest=scout.digest, seconds=time.monotonic() - begun, **found)

    def _scouts(self) -> dict[str, Scout]:
        events = len(self._journal.every("scouting")), len(self._journal.every("scouted"))
        if events != self._known_after:
            self._known, self._known_after = scouts_in(self._journal), events
        return self._known
