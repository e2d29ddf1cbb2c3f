"""Confirm the front, and the incumbent it is compared with: train its members again with other seeds, and measure them
again, interleaved with each other.

The best of many noisy values is partly the luckiest. So each member's accuracy is taken again from fresh trainings, on
the test split that the search never saw, and its latency from processes that alternate between the members. Beside it
stands how the time is spread over the operators of the file that ships.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.account import Account
from nas.folder import RunFolder
from nas.jobs import Jobs, Key
from nas.journal import Journal, Trial
from nas.steps import Candidates, target_metrics
from profiles import files
from profiles.errors import HwnasError

_TICK_S = 0.1


def confirm(
    members: Sequence[Trial],
    *,
    folder: RunFolder,
    candidates: Candidates,
    journal: Journal,
    jobs: Jobs,
    account: Account,
) -> None:
    """Journal one ``confirmed`` event per member that has none yet. A member's failure is its own, with the reason.

    Raises UnavailableError where it is not the member's fault: a full disk, a device that is gone.
    """
    todo = [trial for trial in members if trial.confirmed is None]
    if not todo:
        return
    journal.notify("confirming", trials=[trial.index for trial in todo])
    count = candidates.study.confirm.seeds if _has_test(candidates) else 0
    seeds = [candidates.study.seed + 1 + k for k in range(count)]
    reasons = _train_again(todo, seeds, folder, candidates, jobs, journal)
    untrained = set(reasons)
    journal.notify("measuring_front")
    with jobs.standing_still(), account.span("measuring"):  # a training that timed out may have its grace still
        measured = _measure_again(todo, folder, candidates, reasons)
    for trial in todo:
        metrics: dict[str, float | None] = {}
        try:
            with account.span("evaluating"):
                again = seeds if trial.of_space and trial.index not in untrained else []
                metrics |= _test(trial, again, folder, candidates)
        except HwnasError as error:
            # A full disk or a device that is gone is not the network's fault: the search ends here.
            folder.check_room(str(error))
            candidates.bench.connect()
            _add(reasons, trial.index, str(error))
        values, sems = measured[trial.index]
        journal.append("confirmed", trial.index, metrics=metrics | values, sems=sems, reason=reasons.get(trial.index))


def _train_again(
    trials: Sequence[Trial],
    seeds: Sequence[int],
    folder: RunFolder,
    candidates: Candidates,
    jobs: Jobs,
    journal: Journal,
) -> dict[int, str]:
    """All trials x seeds, as many at a time as the budget allows; index -> why a trial could not be trained again."""
    queue = [(trial, seed) for trial in trials if trial.of_space for seed in seeds]
    reasons: dict[int, str] = {}
    again: set[Key] = set()
    while queue or jobs.running:
        for key, outcome in jobs.ended():
            if outcome.reason is None or key.seed is None:  # without a seed: a training that the search gave up
                continue
            place = folder.trial(key.trial).confirm(key.seed)
            folder.check_room(outcome.reason, place / "job")
            if outcome.transient and key not in again:
                again.add(key)
                shutil.rmtree(place / "job", ignore_errors=True)
                queue += [(trial, key.seed) for trial in trials if trial.index == key.trial]
            else:
                reasons.setdefault(key.trial, f"training with seed {key.seed}: {outcome.reason}")
        while queue and jobs.free > 0:
            trial, seed = queue.pop(0)
            place = folder.trial(trial.index).confirm(seed)
            candidates.write(trial, place / "candidate.json", seed)
            jobs.start(Key(trial=trial.index, seed=seed), place / "candidate.json", place / "job")
        journal.notify("tick")
        time.sleep(_TICK_S)
    return reasons


def _measure_again(
    trials: Sequence[Trial], folder: RunFolder, candidates: Candidates, reasons: dict[int, str]
) -> dict[int, tuple[dict[str, float], dict[str, float]]]:
    """Index -> metrics and standard errors of the shipped files, over all targets. Nothing else of ours runs now.

    Where a target's could not be taken, ``reasons`` says why, and the figures of the search stand.
    """
    values: dict[int, tuple[dict[str, float], dict[str, float]]] = {trial.index: ({}, {}) for trial in trials}
    onnx = [folder.trial(trial.index).fp32 for trial in trials]
    names = [f"{candidates.study.name}/{trial.index}" for trial in trials]
    precisions = [candidates.precision(trial) for trial in trials]
    for target in candidates.study.targets:
        processes = candidates.study.confirm.processes
        profiles = candidates.bench.interleaved(onnx, target, names, processes, precisions)
        for trial, profile in zip(trials, profiles, strict=True):
            if isinstance(profile, HwnasError):
                _add(reasons, trial.index, f"measuring on {target}: {profile}")
                continue
            files.write_json(folder.trial(trial.index).confirmed(target), profile.to_dict(raw=False))
            metrics, sems = target_metrics(profile)
            values[trial.index][0].update(metrics)
            values[trial.index][1].update(sems)
    return values


def _add(reasons: dict[int, str], index: int, reason: str) -> None:
    reasons[index] = f"{reasons[index]}; {reason}" if index in reasons else reason


def _has_test(candidates: Candidates) -> bool:
    """Trainings with other seeds, and the score of what ships, are for the test split alone."""
    return candidates.table is None and len(candidates.data.x_test) > 0


def _test(trial: Trial, seeds: Sequence[int], folder: RunFolder, candidates: Candidates) -> dict[str, float | None]:
    """Scores on the test split: of the file that ships, and the mean and sd over trainings with other seeds."""
    data = candidates.data
    if not _has_test(candidates):
        return {}
    place = folder.trial(trial.index)
    shipped = candidates.score(trial, place.retry(trial.attempt), place.trained, data.x_test, data.y_test, "test")
    metrics: dict[str, float | None] = {f"{name}_shipped": value for name, value in shipped.items()}
    again = [_score_of(trial, place.confirm(seed), candidates) for seed in seeds]
    for name in shipped if again else ():
        scores = [scores[name] for scores in again]
        metrics[name] = float(np.mean(scores))
        metrics[f"{name}_sd"] = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return metrics


def _score_of(trial: Trial, place: Path, candidates: Candidates) -> dict[str, float]:
    data = candidates.data
    return candidates.score(trial, place / "job", place / "trained.onnx", data.x_test, data.y_test, "test")
