"""Confirm the front, and the incumbent it is compared with: train its members again with other seeds, and measure them
again, interleaved with each other.

The best of many noisy values is partly the luckiest. So each member's accuracy is taken again from fresh trainings, on
the test split that the search never saw, and its latency from processes that alternate between the members. Beside it
stands how the time is spread over the operators of the file that ships.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.account import Account
from nas.earlier import Earlier, bring
from nas.folder import RunFolder, is_full
from nas.jobs import Jobs, Key
from nas.journal import Journal, Trial
from nas.precision import one_network
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
    closing: int = 0,
) -> None:
    """Journal one ``confirmed`` event per member that has none yet. A member's failure is its own, with the reason.

    The others are measured once more beside them, so that all figures of a front that has grown were taken side by
    side. Each gets a further event, with the scores and the reason that it had.

    ``closing``: where several controllers close, whose folders they are, see ``nas.closing.folder_of``.

    Raises UnavailableError where it is not the member's fault: a full disk, a device that is gone; TakenOver where
    another controller closes the search by now.
    """
    todo = [trial for trial in members if trial.confirmed is None]
    if not todo:
        return
    known = [trial for trial in members if trial.confirmed is not None and _is_there(trial, folder, candidates)]
    journal.notify("confirming", trials=[trial.index for trial in todo])
    count = candidates.study.confirm.seeds if _has_test(candidates) else 0
    seeds = [candidates.study.seed + 1 + k for k in range(count)]
    reasons = _train_again(todo, members, seeds, folder, candidates, jobs, journal, closing)
    journal.notify("measuring_front")
    with jobs.standing_still(), account.span("measuring"):  # a training that timed out may have its grace still
        measured = _measure_again([*known, *todo], folder, candidates)
    for trial in known:  # first: where this is cut off, some of ``todo`` are left, and all are measured once more
        _append(journal, trial, trial.confirmed or {}, measured[trial.index], trial.confirm_reason)
    for trial in todo:
        metrics: dict[str, float | None] = {}
        reason = reasons.get(trial.index)
        try:
            with account.span("evaluating"):
                again = seeds if trial.of_space and reason is None else []
                metrics |= _test(trial, again, folder, candidates, closing)
        except HwnasError as error:
            # A full disk or a device that is gone is not the network's fault: the search ends here.
            folder.check_room(str(error))
            candidates.bench.connect()
            reason = reason or str(error)
        _append(journal, trial, metrics, measured[trial.index], reason)


def _train_again(
    trials: Sequence[Trial],
    members: Sequence[Trial],
    seeds: Sequence[int],
    folder: RunFolder,
    candidates: Candidates,
    jobs: Jobs,
    journal: Journal,
    closing: int,
) -> dict[int, str]:
    """All trials x seeds, as many at a time as the budget allows; index -> why a trial could not be trained again.

    The other seeds of such a trial are not trained either.
    """
    queue = [(trial, seed) for trial in trials if trial.of_space for seed in seeds]
    earlier = Earlier(candidates.study.search.transfer)
    reasons: dict[int, str] = {}
    again: set[Key] = set()
    while queue or jobs.running:
        for key, outcome in jobs.ended():
            if outcome.reason is None or key.seed is None:  # without a seed: not one of these
                continue
            place = folder.trial(key.trial).confirm(key.seed, closing)
            elsewhere = not jobs.local and is_full(outcome.reason)  # see nas.search
            if not elsewhere or key in again:
                folder.check_room(outcome.reason, place / "job")
            if (elsewhere or outcome.transient) and key not in again and key.trial not in reasons:
                again.add(key)
                shutil.rmtree(place / "job", ignore_errors=True)
                queue += [(trial, key.seed) for trial in trials if trial.index == key.trial]
            else:
                reasons.setdefault(key.trial, f"training with seed {key.seed}: {outcome.reason}")
                queue = [pair for pair in queue if pair[0].index != key.trial]  # they would count for nothing
                for other in jobs.running:
                    if other.trial == key.trial:
                        jobs.stop(other)
        while jobs.free > 0 and (pair := _next(queue, jobs.running, members)) is not None:
            queue.remove(pair)
            trial, seed = pair
            place = folder.trial(trial.index).confirm(seed, closing)
            candidates.write(trial, place / "candidate.json", seed)
            alike = [folder.trial(one.index).confirm(seed, closing) for one in members if _one_network(one, trial)]
            if (done := earlier.find(place / "candidate.json", alike)) is not None:
                bring(done, place / "job")
            jobs.start(Key(trial=trial.index, seed=seed), place / "candidate.json", place / "job")
        journal.notify("tick")
        time.sleep(_TICK_S)
    return reasons


def _next(
    queue: Sequence[tuple[Trial, int]], running: Sequence[Key], members: Sequence[Trial]
) -> tuple[Trial, int] | None:
    """The first that need not wait for the same training of another precision; ``None``: all must, or there is none."""
    busy = [(one, key.seed) for key in running for one in members if one.index == key.trial]
    return next(
        (
            (trial, seed)
            for trial, seed in queue
            if not any(seed == other and _one_network(one, trial) for one, other in busy)
        ),
        None,
    )


def _one_network(one: Trial, other: Trial) -> bool:
    """In two precisions: they train alike."""
    return one.index != other.index and one_network(one.choices, other.choices)


@dataclass(slots=True)
class _Measured:
    """Of one shipped file over all targets. ``missing``: why not on some; there the figures of the search stand."""

    metrics: dict[str, float] = field(default_factory=dict)
    sems: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def _measure_again(trials: Sequence[Trial], folder: RunFolder, candidates: Candidates) -> dict[int, _Measured]:
    """By index. Nothing else of ours runs now."""
    found = {trial.index: _Measured() for trial in trials}
    onnx = [folder.trial(trial.index).fp32 for trial in trials]
    names = [f"{candidates.study.name}/{trial.index}" for trial in trials]
    precisions = [candidates.precision(trial) for trial in trials]
    for target in candidates.study.targets:
        processes = candidates.study.confirm.processes
        profiles = candidates.bench.interleaved(onnx, target, names, processes, precisions)
        for trial, profile in zip(trials, profiles, strict=True):
            if isinstance(profile, HwnasError):
                found[trial.index].missing.append(f"measuring on {target}: {profile}")
                continue
            files.write_json(folder.trial(trial.index).confirmed(target), profile.to_dict(raw=False))
            metrics, sems = target_metrics(profile)
            found[trial.index].metrics |= metrics
            found[trial.index].sems |= sems
    return found


def _is_there(trial: Trial, folder: RunFolder, candidates: Candidates) -> bool:
    """The user may have deleted the file since, beside which the untrained one would be another's."""
    place = folder.trial(trial.index)
    return place.trained.exists() or (candidates.table is not None and place.fp32.exists())


def _append(
    journal: Journal, trial: Trial, metrics: Mapping[str, float | None], found: _Measured, reason: str | None
) -> None:
    """``metrics``: its scores; and what was measured before, which stands where nothing was now."""
    why = {"reason": reason, "unmeasured": "; ".join(found.missing) or None}
    sems = trial.confirmed_sems | found.sems
    journal.append("confirmed", trial.index, metrics={**metrics, **found.metrics}, sems=sems, **why)


def _has_test(candidates: Candidates) -> bool:
    """Trainings with other seeds, and the score of what ships, are for the test split alone."""
    return candidates.table is None and len(candidates.data.x_test) > 0


def _test(
    trial: Trial, seeds: Sequence[int], folder: RunFolder, candidates: Candidates, closing: int
) -> dict[str, float | None]:
    """Scores on the test split: of the file that ships, and the mean and sd over trainings with other seeds."""
    data = candidates.data
    if not _has_test(candidates):
        return {}
    place = folder.trial(trial.index)
    shipped = candidates.score(trial, place.retry(trial.attempt), place.trained, data.x_test, data.y_test, "test")
    metrics: dict[str, float | None] = {f"{name}_shipped": value for name, value in shipped.items()}
    again = [_score_of(trial, place.confirm(seed, closing), candidates) for seed in seeds]
    for name in shipped if again else ():
        scores = [scores[name] for scores in again]
        metrics[name] = float(np.mean(scores))
        metrics[f"{name}_sd"] = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return metrics


def _score_of(trial: Trial, place: Path, candidates: Candidates) -> dict[str, float]:
    data = candidates.data
    return candidates.score(trial, place / "job", place / "trained.onnx", data.x_test, data.y_test, "test")
