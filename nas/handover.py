"""What other controllers of a study do meanwhile, and what one that is gone has left: its trials and its jobs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nas.folder import RunFolder
from nas.jobs import Jobs
from nas.journal import Journal, TakenOver, Trial
from nas.presence import Presence, same_machine

_STOPPED = ("early_stopped", "failed")  # their jobs may have been cancelled; of a failed one where it timed out


class Handover:
    """``tell``: of each trial that another controller proposed or ended. ``presence``: ``None`` where this is the only
    one, and all trials are its own.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: Journal,
        jobs: Jobs,
        presence: Presence | None,
        tell: Callable[[Trial], None],
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._jobs = jobs
        self._presence = presence
        self._tell = tell
        self._stopped_by_others: list[Trial] = []  # while these live: each cancels what it stopped

    def adopt(self) -> None:
        """What was under way when an earlier controller ended; once, at the beginning."""
        if self._presence is None:
            for trial in self._journal.open:
                if trial.owner != self._journal.me:
                    self._take_over(trial)
        for trial in self._journal.trials.values():
            if trial.state in _STOPPED:
                self._stop_leftover(trial)

    def hear(self) -> None:
        """What the others did since the last call; what they have left is this controller's from now on."""
        for trial in self._journal.news():
            self._tell(trial)
            if trial.state in _STOPPED and trial.owner != self._journal.me:
                self._stopped_by_others.append(trial)
        for key in self._jobs.running:
            if self._journal.trials[key.trial].owner != self._journal.me:
                self._jobs.drop(key)
        if self._presence is None:
            return
        gone = {name for name in {trial.owner for trial in self._stopped_by_others} if self._presence.gone(name)}
        for trial in [trial for trial in self._stopped_by_others if trial.owner in gone]:
            self._stopped_by_others.remove(trial)
            self._stop_leftover(trial)
        for index in [trial.index for trial in self._journal.open]:
            trial = self._journal.trials[index]  # as it is by now: taking one over may have read on
            if not trial.ended and trial.owner != self._journal.me and self._presence.gone(trial.owner):
                with suppress(TakenOver):
                    self._take_over(trial)

    def _take_over(self, trial: Trial) -> None:
        before = trial.owner
        if not self._journal.append_now("taken_over", trial.index):
            return  # perhaps by another one: looked at again
        trial = self._journal.trials[trial.index]
        if trial.state == "training" and self._jobs.local and not same_machine(before):
            # Its job has died with it; if it was only cut off, that job still writes into its folder.
            reason = f"{before}, which trained it, is gone"
            self._journal.append("retried", trial.index, attempt=trial.attempt + 1, reason=reason)

    def _stop_leftover(self, trial: Trial) -> None:
        """Who stopped it journalled that, and was then perhaps killed before the job was cancelled."""
        self._jobs.stop_leftover(self._folder.trial(trial.index).retry(trial.attempt))
