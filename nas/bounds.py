"""What ends a search: its budget, trials that fail, and a front that has stopped growing.

All of it is of the trials of the study, whichever controller had them.
"""

from __future__ import annotations

import time

from nas.courses import stall
from nas.journal import Journal
from nas.plan import Plan


class Bounds:
    """``budget.hours`` count from here."""

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        finished = journal.last("finished")
        self._finished = finished.seq if finished is not None else 0  # what an earlier search said, it said of its end
        self._looked_after = -1  # so many ended trials for the last time whether the search stalls
        hours = plan.study.budget.hours
        self._until = time.monotonic() + hours * 3600 if hours else None

    @property
    def wanted(self) -> bool:
        """Whether one more trial is allowed."""
        budget = self._plan.study.budget
        if self.stalled is not None:
            return False
        if self._until is not None and time.monotonic() > self._until:
            return False
        return budget.trials is None or len(self._journal.trials) < budget.trials

    @property
    def stalled(self) -> str | None:
        """Why the search is to end, as it was found by one controller for all: each looks at other moments."""
        stalled = self._journal.last("stalled")
        return stalled.data["reason"] if stalled is not None and stalled.seq > self._finished else None

    @property
    def failing(self) -> str | None:
        """Why the search is to end at once: too many trials failed."""
        budget = self._plan.study.budget
        most = budget.failures
        if most is None:
            most = max(3, (budget.trials or len(self._journal.trials)) // 4)
        if self._journal.count("failed") <= most:
            return None
        failed = [trial for trial in self._journal.trials.values() if trial.state == "failed"]
        return f"{len(failed)} trials failed (budget.failures = {most}); the last one: {failed[-1].reason}"

    def look(self) -> None:
        """Journal that the search no longer betters its front, where it is so."""
        trials = list(self._journal.trials.values())
        ended = len(trials) - len(self._journal.open)
        if self.stalled is not None or ended == self._looked_after:  # then the answer, two hypervolumes, is the same
            return
        reason = stall(trials, self._plan.study.search, self._plan.objectives, self._plan.limits)
        if reason is None or self._journal.append_now("stalled", reason=reason):
            self._looked_after = ended
