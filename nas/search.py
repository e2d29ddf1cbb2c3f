"""The search: ask and tell over candidates that are measured before they are trained.

    space -> candidate -> export (untrained) -> profile -> gate -> train -> export (trained) -> accuracy -> generator

One thread, one loop. Jobs and the generator run beside it and are looked at in turn; while this machine is measured
they stand still. Every step is journalled before and after, so a search that was killed goes on where it was.

Where several controllers work on one study, each does this for its own trials, and takes over those of one that is
gone; the budget and what ends a search are of all trials.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from devices import onnxfile
from devices.engines import PROGRAM
from nas.account import Account
from nas.bounds import Bounds
from nas.courses import Courses
from nas.earlier import Earlier, bring
from nas.endings import Endings
from nas.folder import TrialFolder, is_full
from nas.handover import Handover
from nas.jobs import Jobs, Key
from nas.journal import BASELINE, Journal, TakenOver, Trial
from nas.plan import Plan
from nas.precision import one_network
from nas.presence import Presence
from nas.proposals import Proposal, Proposals
from nas.scouting import SOURCE, Scouting
from nas.spaces import digest
from nas.steps import Candidates, gate
from nas.training.outcome import Outcome
from profiles.errors import HwnasError

_TICK_S = 0.1
_TRAINING_ATTEMPTS = 2


class Search:
    """``run`` returns why it ended. What there is to see is in the journal and in the folder.

    It raises UnavailableError where a device is gone, the disk is full, or the job system takes no job: a resumed
    search goes on from there.

    ``presence``: of the other controllers; ``None``: there are none, and all trials are this one's.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        candidates: Candidates,
        journal: Journal,
        jobs: Jobs,
        proposals: Proposals,
        account: Account,
        presence: Presence | None = None,
    ) -> None:
        self._plan = plan
        self._candidates = candidates
        self._journal = journal
        self._jobs = jobs
        self._proposals = proposals
        self._account = account
        self._endings = Endings(plan, candidates, journal, proposals, account)
        self._courses = Courses(plan.folder, plan.objectives, plan.limits) if plan.study.search.early_stopping else None
        self._scouting = Scouting(plan, candidates, journal, jobs, proposals)
        self._handover = Handover(plan.folder, journal, jobs, presence, self._endings.tell)
        self._bounds = Bounds(plan, journal)
        self._earlier = Earlier(plan.study.search.transfer)

    def run(self) -> str:
        self._handover.adopt()
        self._proposals.warm()
        while True:
            self._handover.hear()
            self._scouting.hear()
            self._harvest()
            self._stop_early()
            self._launch()
            self._propose()
            reason = self._over()
            if reason is not None:
                return reason
            if not self._measure_next():
                self._journal.notify("tick")
                self._proposals.wait(_TICK_S)

    def _over(self) -> str | None:
        """Why the search ends now."""
        if (failing := self._bounds.failing) is not None:
            self._jobs.cancel_all()
            return failing
        if self._journal.open or self._proposals.asked:
            return None
        if self._proposals.exhausted:
            return "the search space is exhausted"
        return None if self._bounds.wanted else self._bounds.stalled or "the budget is used up"

    @property
    def _trials(self) -> list[Trial]:
        return list(self._journal.trials.values())

    def _propose(self) -> None:
        proposal = self._proposals.poll()
        if not self._proposals.asked:
            self._account.end("generating", "ask")
        if complaint := self._proposals.complaint():
            self._journal.append("fell_back", None, reason=complaint)
        if proposal is not None:
            self._take(proposal)
        waiting = [trial for trial in self._journal.mine if trial.state in ("proposed", "profiled")]
        if not self._proposals.asked and not self._proposals.exhausted and self._bounds.wanted:
            baseline = self._plan.study.baseline
            if baseline is not None and not self._journal.trials:
                self._take(Proposal(choices=dict(baseline.choices), source=BASELINE, seconds=0.0))
                self._endings.tell(self._trials[0])
            elif len(waiting) <= self._jobs.free:  # one ahead of what could start now
                self._proposals.ask()
                self._account.begin("generating", "ask")
            elif self._scouting.wanted:
                self._proposals.scout()
                self._account.begin("generating", "ask")

    def _take(self, proposal: Proposal) -> None:
        """Unless another controller has proposed the same meanwhile, or the last one that the budget allows."""
        if proposal.source == SOURCE:
            self._scouting.take(proposal)
            return
        if proposal.source.startswith("random ("):
            self._journal.append("fell_back", None, reason=proposal.source)
        identity = self._identity(proposal.choices)
        while self._bounds.wanted and not self._journal.knows(identity):
            if self._journal.append_now(
                "proposed",
                len(self._journal.trials),
                choices=proposal.choices,
                digest=identity,
                source=proposal.source,
                seconds=proposal.seconds,
            ):
                return

    def _identity(self, choices: dict[str, Any]) -> str:
        """Of a network of the space that of its choices; of a baseline that is a file, that of the file."""
        return digest(self._plan.study.full_space, choices) if choices else onnxfile.digest(self._candidates.incumbent)

    def _measure_next(self) -> bool:
        """Profile the oldest proposed candidate, or one that is scouted. False where there is none."""
        trial = next((trial for trial in self._journal.mine if trial.state == "proposed"), None)
        if trial is None:
            return self._scouting.measure_next(self._measured)
        begun = time.monotonic()
        self._journal.notify("measuring", trial.index)
        folder = self._plan.folder.trial(trial.index)
        self._candidates.write(trial, folder.candidate, self._plan.study.seed)
        scouted = self._scouting.lend(trial)
        with suppress(TakenOver):
            try:
                metrics, sems = self._measured(trial, folder)
            except HwnasError as error:
                self._endings.fail(trial, "profile", str(error))
                return True
            seconds = time.monotonic() - begun
            if not scouted:
                self._scouting.took(seconds)
            self._journal.append("profiled", trial.index, metrics=metrics, sems=sems, seconds=seconds)
            self._endings.tell(trial)
        return True

    def _measured(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        self._proposals.stop()
        try:
            with self._jobs.standing_still(), self._account.span("measuring"):
                return self._candidates.profile(trial, folder)
        finally:
            self._proposals.go_on()

    def _launch(self) -> None:
        for trial in self._journal.mine:  # trainings of a controller that is gone first: a cluster's run on
            if trial.state == "training" and self._jobs.free > 0 and Key(trial=trial.index) not in self._jobs.running:
                with suppress(TakenOver):
                    self._start(trial, trial.attempt)
        for trial in self._journal.mine:
            if trial.state == "profiled":
                with suppress(TakenOver):
                    self._launch_one(trial)

    def _launch_one(self, trial: Trial) -> None:
        if not trial.of_space:
            self._endings.complete(trial, Outcome())
            return
        # What ships today is compared with, also where it breaks a limit: that may be why one searches.
        reason = gate(trial.metrics, self._plan.limits) if trial.source != BASELINE else None
        if reason is not None:
            self._journal.append("gated", trial.index, reason=reason)
            self._endings.tell(trial)
        elif self._candidates.table is not None:
            self._endings.complete(trial, Outcome())
        elif self._jobs.free > 0:
            # Once more: the script may have been edited since.
            self._candidates.write(trial, self._plan.folder.trial(trial.index).candidate, self._plan.study.seed)
            self._journal.append("training", trial.index, attempt=trial.attempt, earlier=self._trained_before(trial))
            self._start(self._journal.trials[trial.index], trial.attempt)

    def _trained_before(self, trial: Trial) -> str | None:
        """The folder of the same training, done before; ``None``: there is none, or this one was begun already."""
        if trial.attempt > 0:
            return None
        folder, near = self._plan.folder, []
        if self._plan.study.quantise is not None:
            done = [t for t in self._trials if t.state == "completed" and one_network(t.choices, trial.choices)]
            near = [folder.trial(t.index).path for t in done]
        found = self._earlier.find(folder.trial(trial.index).candidate, near)
        return None if found is None else str(found)

    def _start(self, trial: Trial, attempt: int) -> None:
        """Submit or adopt. Raises UnavailableError where the job is refused: a resumed search starts it again."""
        folder = self._plan.folder.trial(trial.index)
        # Of a controller that is gone they may hold other weights, and a file that is there is not made again.
        for path in (folder.trained, folder.trained.with_suffix(PROGRAM), folder.converted):
            path.unlink(missing_ok=True)
        job = folder.retry(attempt)
        if trial.earlier is not None and not bring(Path(trial.earlier), job):
            self._journal.append("training", trial.index, attempt=attempt, earlier=None)
        self._jobs.start(Key(trial=trial.index), folder.candidate, job)

    def _harvest(self) -> None:
        for key, outcome in self._jobs.ended():
            with suppress(TakenOver):
                self._ended(self._journal.trials[key.trial], outcome)

    def _stop_early(self) -> None:
        """Trainings that cannot better the front any more; and the whole search, where it no longer betters it."""
        running = self._jobs.running
        if self._courses is not None and running:
            own = [trial for trial in self._trials if trial.ended or Key(trial=trial.index) in running]
            for trial, stop in self._courses.to_stop(own):
                known = {"step": stop.step, "steps": stop.steps, "hoped": dict(stop.hoped)}
                with suppress(TakenOver):
                    self._journal.append("early_stopped", trial.index, reason=stop.reason, **known)
                    self._jobs.stop(Key(trial=trial.index))
                    self._endings.tell(trial)
        self._bounds.look()

    def _ended(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.reason is None:
            self._endings.complete(trial, outcome)
            return
        folder = self._plan.folder
        left = trial.attempt + 1 < _TRAINING_ATTEMPTS
        elsewhere = not self._jobs.local and is_full(outcome.reason)  # whose disk is not known: another node may do
        if not (elsewhere and left):
            folder.check_room(outcome.reason, folder.trial(trial.index).retry(trial.attempt))
        if (elsewhere or outcome.transient) and left:
            self._journal.append("retried", trial.index, attempt=trial.attempt + 1, reason=outcome.reason)
        else:
            self._endings.fail(trial, "training", outcome.reason)
