"""One model on one target against its baseline, on the device.

A file that has not changed in an environment that has not changed is the same by identity: nothing is compared. Where
the file is the same and the environment is another one, or the target's settings are, the two files would meet in the
new one and come out equal whatever it does; that is not a pass, so it is not judged, unless the old environment is
there to measure in (``--baseline-python``), with the versions that the baseline was kept with. Where both the file and
the environment are others, tonight's file can be found to be worse than the baseline's beside it, but not the same.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmarks.nightly import metrics
from benchmarks.nightly.baselines import Kept, differences
from benchmarks.nightly.judgements import OUTPUT, SIZE, Judgement
from benchmarks.nightly.metrics import Effort
from benchmarks.nightly.suite import Entry
from devices import measure, onnxfile
from devices.artifact import prepare
from devices.plan import Job
from devices.session import Session
from profiles.comparisons import Comparison
from profiles.errors import HwnasError, MeasurementError, ParityError, UnavailableError
from profiles.records import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """``name``: the target's here, which is ``target@board`` where all boards of a pool are measured. ``python``: the
    interpreter of the baseline's environment, where the command line names one.
    """

    entry: Entry
    name: str
    target: Target
    boards: tuple[str, ...]
    kept: Kept | None
    python: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.entry.name, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A pair on its device: the files that run, where, and how the environments differ.

    ``base``: ``None`` where there is no baseline. ``base_target``: where the baseline has an environment of its own.
    ``device``: tonight's fingerprint; ``base_device``: that of the environment that the baseline runs in tonight.
    """

    job: Job
    target: Target
    device: dict[str, Any]
    base_device: dict[str, Any]
    base: Job | None = None
    base_target: Target | None = None
    changed: tuple[str, ...] = ()  # from the baseline's environment and settings, as kept, to tonight's
    moved: tuple[str, ...] = ()  # from what was kept to what the baseline's own environment is tonight
    alike: bool = True  # whether both files would run in one and the same environment tonight
    same_file: bool = False

    @property
    def identical(self) -> bool:
        return self.same_file and not self.changed

    @property
    def new_environment(self) -> bool:
        """Both files run in one environment that is not the baseline's: what it does to both is not in their ratio."""
        return bool(self.changed) and self.alike

    @property
    def arms(self) -> metrics.Arms:
        """Raises UnavailableError where there is no baseline."""
        if self.base is None:
            raise UnavailableError("there is no baseline")
        return (self.base, self.base_target or self.target), (self.job, self.target)


def ready(session: Session, pair: Pair) -> Ready:
    """Raises HwnasError where the model, the device or the kept file cannot be used."""
    if pair.entry.error is not None:
        raise pair.entry.error
    target = dataclasses.replace(pair.target, device=session.name)
    job = prepare(session, pair.entry.job, target)
    device = session.fingerprint(target)
    here = Ready(job=job, target=target, device=device, base_device=device)
    python = pair.python or (pair.kept.python if pair.kept else None)
    if pair.kept is None and python is None:
        return here
    there = target if python is None else dataclasses.replace(target, python=python)
    before = session.fingerprint(there)
    changed = pair.kept.changes(device, target) if pair.kept else differences(before, device)
    # The interpreter's path is not compared, but what it is: a kernel, a driver, threads are others for both.
    moved = pair.kept.changes(before, target) if pair.kept and there != target else []
    base = pair.kept.job(job) if pair.kept else dataclasses.replace(job, name=f"{job.name} (baseline)")
    return dataclasses.replace(
        here,
        base_device=before,
        base=base,
        base_target=there if there != target else None,
        changed=tuple(changed),
        moved=tuple(moved),
        alike=before == device,
        same_file=pair.kept is None or pair.kept.digest == onnxfile.digest(job.model),
    )


def output(session: Session, pair: Pair, here: Ready, effort: Effort) -> Judgement:
    """Whether the output is right. It was when the baseline was kept; without a right output there is no figure.

    For a model with ``same_outputs``, right is what the baseline's file computes.
    """
    job, one = here.job, Judgement(model=pair.entry.name, target=pair.name, metric=OUTPUT, verdict="same")
    if pair.entry.same_outputs and here.base is not None:
        job = dataclasses.replace(job, reference=None, reference_model=here.base.reference_model or here.base.model)
    try:
        measure.check(session, job, here.target, seed=effort.seed)
    except ParityError as error:
        if here.base is None:
            return dataclasses.replace(one, verdict="unjudged", reason=f"{error}; not kept as a baseline")
        return dataclasses.replace(one, verdict="regressed", reason=str(error) + _elsewhere(session, here, effort))
    # What a first night keeps is the file in the other environment; in later stages it is kept already.
    if pair.kept is None and here.base is not None and effort.factor == 1:
        (base, target), _ = here.arms
        try:
            measure.check(session, base, target, seed=effort.seed)
        except ParityError as error:
            reason = f"{error}, in the baseline's environment; not kept as a baseline"
            return dataclasses.replace(one, verdict="unjudged", reason=reason)
    return one


def judge(
    session: Session, pair: Pair, here: Ready, metric: str, floor: float, effort: Effort
) -> tuple[Judgement, Comparison | None]:
    """One metric, with the record of its duet if there was one. What cannot be measured is "unjudged", and says why.

    Raises HwnasError where the session has ended.
    """
    one = Judgement(model=pair.entry.name, target=pair.name, metric=metric, verdict="new", floor=floor)
    if here.base is None:
        return dataclasses.replace(one, reason="no baseline yet: tonight's is kept"), None
    if here.moved and metric != SIZE:
        how = "bring it back, or accept it: hwnas baseline set SUITE --baseline-python PATH"
        reason = f"the baseline's environment is not what it was kept in ({', '.join(here.moved)}): {how}"
        return dataclasses.replace(one, verdict="unjudged", reason=reason), None
    if here.identical:
        return dataclasses.replace(one, verdict="same", reason="the same file in the same environment"), None
    how = "--baseline-python measures in one like it, hwnas baseline set accepts the new one"
    reason = f"the environment is not the baseline's ({', '.join(here.changed)}): {how}"
    if here.new_environment and here.same_file and metric != SIZE:
        return dataclasses.replace(one, verdict="unjudged", reason=reason), None
    work = metrics.Work(session=session, one=one, arms=here.arms, effort=effort, run=pair.entry.run)
    try:
        found, comparison = metrics.JUDGES[metric](work)
    except HwnasError as error:
        if session.closed:
            raise
        failed = isinstance(error, MeasurementError)
        return dataclasses.replace(one, verdict="unjudged", reason=str(error), failed=failed), None
    if here.new_environment and metric != SIZE and (found.verdict in ("same", "improved") or found.not_worse):
        found = dataclasses.replace(
            found, verdict="unjudged", reason=f"{found.verdict} as the baseline's file; {reason}"
        )
    return found, comparison


def _elsewhere(session: Session, here: Ready, effort: Effort) -> str:
    """What the baseline's file does tonight, so that a person knows where to look."""
    (base, target), _ = here.arms
    try:
        measure.check(session, base, target, seed=effort.seed)
    except ParityError:
        return "; that of the baseline's file is wrong tonight too: look at the environment"
    except HwnasError:
        return ""
    return "; that of the baseline is right"
