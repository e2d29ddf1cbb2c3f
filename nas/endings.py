"""How a trial of a search ends: scored, or failed with its reason; journalled, and the generator told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.account import Account
from nas.journal import Journal, Trial
from nas.plan import Plan
from nas.proposals import Proposals, results_of
from nas.steps import Candidates
from nas.training.outcome import Outcome
from profiles.errors import HwnasError, TrialError


class Endings:
    def __init__(
        self, plan: Plan, candidates: Candidates, journal: Journal, proposals: Proposals, account: Account
    ) -> None:
        self._plan = plan
        self._candidates = candidates
        self._journal = journal
        self._proposals = proposals
        self._account = account

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Score the ONNX file of what was trained, or of a baseline that need not be; or take a table's word."""
        folder = self._plan.folder.trial(trial.index)
        try:
            with self._account.span("evaluating"):
                metrics = self._candidates.evaluate(trial, folder, folder.retry(trial.attempt), outcome.metrics)
            self._check_objectives(trial.metrics | metrics)
        except HwnasError as error:
            self.fail(trial, "evaluation", str(error))
            return
        self._journal.append("completed", trial.index, metrics=metrics, train_s=outcome.wall_s)
        self.tell(trial)

    def fail(self, trial: Trial, step: str, reason: str) -> None:
        """Raises UnavailableError where it is not the candidate's fault: a full disk, a device that is gone."""
        self._plan.folder.check_room(reason)
        self._candidates.bench.connect()
        self._journal.append("failed", trial.index, step=step, reason=reason[:2000])
        self.tell(trial)

    def tell(self, trial: Trial) -> None:
        """Tell the generator what is known of a trial by now."""
        if trial.of_space:
            for result in results_of([self._journal.trials[trial.index]], self._plan.modelled):
                self._proposals.tell(result)

    def _check_objectives(self, metrics: Mapping[str, Any]) -> None:
        """A name that no trial ever gets a value for would make a search without an objective."""
        for name in self._plan.modelled:
            if name not in metrics:
                raise TrialError(f"no {name}; there are: {', '.join(sorted(metrics))}")
