"""Each metric judged by what is right for it. Every judge takes the two arms, the baseline's and tonight's.

latency_ms      a duet; where the environments differ, of two resident processes
peak_memory_mb  fresh processes of both in turns, and the verdict of a duet on their ratios
energy_mj       likewise, energy passes in turns
model_size_mb   exact: the files' sizes
val_accuracy    exact for a file in an environment: the share of the search's validation set that is right
"""

from __future__ import annotations

import dataclasses
import math
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from benchmarks.nightly.judgements import SIZE, Judgement, Outcome
from benchmarks.nightly.suite import ACCURACY
from devices import duet, measure, metering, onnxfile
from devices.duet import DuetPlan
from devices.plan import Job, Plan, aim
from devices.session import Session
from profiles import verdicts
from profiles.comparisons import Comparison
from profiles.discoveries import p_value
from profiles.errors import MeasurementError, UnavailableError
from profiles.records import Target
from profiles.verdicts import Verdict

LEAST_MB = 0.5  # differences of memory below this are those of pages and allocators, not of models
MEMORY_PROCESSES = 5  # of each file
ENERGY_PASSES = 5  # of each file
_NEVER = 1e-12  # an interval that no duet comes to
_EDGE = 1e-9  # for the rounding of floats at the floor
_LOOKS = 2  # at such figures: in the stages "first" and "longer"

Arms = tuple[tuple[Job, Target], tuple[Job, Target]]  # the baseline, tonight
Answered = tuple[Judgement, Comparison | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much one stage takes: ``factor`` times the usual, which for a duet is ``budget_s``. ``whole``: all of it,
    also where less would decide the metric by itself: among many, more is needed."""

    budget_s: float
    factor: int = 1
    whole: bool = False
    seed: int = 0
    meter: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """``one``: the judgement so far, with its floor. ``run``: the search that the model is of, if it is of one."""

    session: Session
    one: Judgement
    arms: Arms
    effort: Effort
    run: Path | None

    @property
    def floor(self) -> float:
        return self.one.floor or 0.0

    @property
    def tell(self) -> Callable[[str, dict[str, Any]], None]:
        return telling(self.session)


def telling(session: Session) -> Callable[[str, dict[str, Any]], None]:
    """What a pass tells, on the way of the session's own events: out of its thread, with the device's name."""
    return lambda kind, data: session.on_event(kind, {"device": session.name, **data})


def latency(work: Work) -> Answered:
    (base, there), (other, here) = work.arms
    plan = DuetPlan(
        budget_s=work.effort.factor * work.effort.budget_s,
        floor=work.floor,
        interval_within=_NEVER if work.effort.whole else None,
        seed=work.effort.seed,
    )
    elsewhere = there if there != here else None
    found = duet.compare(work.session, base, other, here, base_target=elsewhere, plan=plan, on_event=work.tell)
    one = _of_verdict(work.one, found.verdict, base=found.base_ms)
    disturbed = "the machine stayed disturbed" if "disturbed" in found.flags else ""
    return dataclasses.replace(one, reason=disturbed), found


def memory(work: Work) -> Answered:
    """Each file counts as at least ``LEAST_MB``, and a difference up to that as none."""

    def take(job: Job, target: Target, seed: int) -> float:
        answer = work.session.request("memory", deadline_s=Plan().deadline_s, **_request(work, job, target, seed))
        if answer["peak_memory_mb"] is None:
            raise MeasurementError(answer["reason"])
        return max(LEAST_MB, float(answer["peak_memory_mb"]))

    base, other = _in_turns(work, "memory", MEMORY_PROCESSES, take)
    floor = min(0.99, max(work.floor, LEAST_MB / float(np.median(base))))
    one = _of_ratios(dataclasses.replace(work.one, floor=floor), base, other)
    small = f"differences up to {LEAST_MB} MB are those of pages and allocators"
    return dataclasses.replace(one, reason=small if floor > work.floor else ""), None


def energy(work: Work) -> Answered:
    meter, plan = work.effort.meter, Plan()
    if meter is None:
        raise UnavailableError(f"device {work.session.name} has no meter")

    def take(job: Job, target: Target, seed: int) -> float:
        found = metering.measure(
            work.session,
            meter,
            windows=plan.energy_windows,
            max_window_s=plan.max_window_s,
            warm_up_ms=plan.warm_up_ms,
            deadline_s=plan.deadline_s + 2 * (plan.energy_windows + 2) * plan.max_window_s,
            **_request(work, job, target, seed),
        )
        if found.energy is None:
            raise MeasurementError(found.reason)
        if not found.energy.energy_mj > 0:
            raise MeasurementError(f"{found.energy.energy_mj:.3g} mJ: running the model takes no more than idling")
        return found.energy.energy_mj

    return _of_ratios(work.one, *_in_turns(work, "energy", ENERGY_PASSES, take)), None


def size(work: Work) -> Answered:
    base, other = (onnxfile.size_mb(job.model) for job, _ in work.arms)
    return _exact(work.one, base, other, worse=other / base - 1), None


def accuracy(work: Work) -> Answered:
    """Raises MeasurementError where the model is of no search or its data is not for classification."""
    from nas import data
    from nas.study_file import read_study
    from nas.training.score import score

    if work.run is None:
        raise MeasurementError("the model is not of a search, so there is no validation set")
    study = read_study(work.run / "study.toml")
    valid = data.load(study.data.name, **study.data.options)
    if valid.task != "classification":
        raise MeasurementError(f"{work.run}: its data is for {valid.task}, which has no accuracy")
    shares = []
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        inputs, outputs = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(inputs, valid.x_val, allow_pickle=False)
        for job, target in work.arms:
            measure.compute_outputs(work.session, job.model, aim(target, job), inputs, outputs)
            shares.append(score(valid.task, np.load(outputs, allow_pickle=False), valid.y_val)["accuracy"])
    base, other = shares
    return _exact(work.one, base, other, worse=base - other), None


JUDGES: dict[str, Callable[[Work], Answered]] = {
    "latency_ms": latency,
    "peak_memory_mb": memory,
    "energy_mj": energy,
    SIZE: size,
    ACCURACY: accuracy,
}


def _in_turns(
    work: Work, name: str, times: int, take: Callable[[Job, Target, int], float]
) -> tuple[list[float], list[float]]:
    """Values of both arms, each in a fresh process; which of the two comes first is random."""
    seed, count, order = work.effort.seed, times * work.effort.factor, random.Random(work.effort.seed)
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        work.tell("pass", {"model": work.one.model, "pass": name, "number": number, "of": count})
        for which in order.sample((0, 1), 2):
            found[which].append(take(*work.arms[which], seed + number))
    return found


def _request(work: Work, job: Job, target: Target, seed: int) -> dict[str, Any]:
    return {
        "target": aim(target, job).to_dict(),
        "model": work.session.put(job.model, onnxfile.external_files(job.model)),
        "seed": seed,
        **measure.feeding(work.session, job),
    }


def _of_ratios(one: Judgement, base: Sequence[float], other: Sequence[float]) -> Judgement:
    """Each value of one file with its neighbour of the other: a pair is a process of its own with one group."""
    logs = [np.array([math.log(after / before)]) for before, after in zip(base, other, strict=True)]
    verdict = verdicts.judge(logs, floor=one.floor or 0.0, looks=_LOOKS)
    return _of_verdict(one, verdict, base=geometric_mean(base))


def _of_verdict(one: Judgement, verdict: Verdict, *, base: float) -> Judgement:
    """Tonight's figure is what the ratio makes of the baseline's: the ratio comes from pairs, and the medians of each
    file by itself may say the contrary.
    """
    return dataclasses.replace(
        one,
        verdict=verdict.verdict,
        base=base,
        other=base * verdict.ratio,
        ratio=verdict.ratio,
        interval=verdict.ratio_ci99,
        p_value=p_value(verdict),
    )


def _exact(one: Judgement, base: float, other: float, *, worse: float) -> Judgement:
    """``worse``: by how much, in the unit of the floor. A change equal to the floor is none."""
    edge = (one.floor or 0.0) + _EDGE
    answer: Outcome = "regressed" if worse > edge else "improved" if worse < -edge else "same"
    return dataclasses.replace(one, verdict=answer, base=base, other=other, ratio=other / base if base else None)
