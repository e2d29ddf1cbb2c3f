"""Profiles of models: which passes, in which order.

For each model: parity first, and no number where the output is wrong; then latency in fresh processes, in random order
where there are several models; then memory, and energy where there is a meter. Each pass is one request to the agent.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import energy, energy_pass, metering, onnxfile, rounds
from devices.assemble import Taken, assemble
from devices.session import OnEvent, Session
from profiles.errors import HwnasError, InputError, MeasurementError
from profiles.files import write_bytes
from profiles.records import Profile, Target

# The default is for a search: about 2 s a model, a part of it for five processes to start.
PROCESSES = 3
GROUPS = 11
BLOCK_MS = 4.0
WARM_UP_MS = 20.0
_EXTRA_GROUPS = 2  # times the groups asked for: at most this many run where some are disturbed
_ENOUGH = 2  # times the time that the groups asked for take of a model whose runs are shorter than a block
_CALIBRATION_MS = 50.0  # two blocks of this, for each time of `calibrate`


Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model to profile.

    ``reference``: an .npz written by ``write_reference``, the outputs that are right (those of torch at export).
    Without it they come from ``reference_model`` (for a converted model: the fp32 one it came from), else from the
    model itself, run on one CPU thread without optimisations.
    """

    model: Path
    name: str
    reference: Path | None = None
    reference_model: Path | None = None
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    inputs: Path | None = None  # .npz to time with, by input name; default random
    program: Path | None = None  # the same model as a torch program, for engines that take those; see devices.artifact
    precision: str | None = None  # of ``model``; default: the target's
    flags: tuple[str, ...] = ()  # go into the record


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: each process runs ``groups`` undisturbed groups of four blocks of ``block_ms``.

    ``within``: measure on, process by process, until the 95 % interval of the calibrated latency has this half-width
    (0.01 is 1 %) or the latency pass of a model has taken ``budget_s``; ``processes`` is then the least number.
    ``None``: exactly ``processes``.
    ``hurried``: a process ends early where runs are longer than blocks were to be. Without, the default plan gives at
    least 66 times also of a model that takes long, and a 90th percentile needs 64.
    """

    processes: int = PROCESSES
    groups: int = GROUPS
    block_ms: float = BLOCK_MS
    warm_up_ms: float = WARM_UP_MS
    hurried: bool = True
    within: float | None = None
    budget_s: float = 30.0
    interval_ms: float | None = None  # from the start of one inference to that of the next; None: back to back
    memory: bool = True
    meter: Mapping[str, Any] | None = None  # one of ``Fleet.meters``; ``None``: energy is not measured
    energy_windows: int = energy.MIN_WINDOWS
    max_window_s: float = 120.0  # of an energy window, which is as long as the meter needs
    deadline_s: float = 300.0  # for one pass
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError: one process cannot say how the next one will differ, so two is the least."""
        least = {"processes": 2, "groups": 1, "block_ms": 0.1, "warm_up_ms": 0.0, "deadline_s": 0.1}
        least |= {"energy_windows": energy.MIN_WINDOWS, "max_window_s": energy_pass.LEAST_WINDOW_S}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise InputError(f"{name}: given {getattr(self, name)}; accepted: from {value}")
        above = {"within": self.within, "budget_s": self.budget_s, "interval_ms": self.interval_ms}
        for name, given in above.items():
            if given is not None and not 0 < given < math.inf:
                raise InputError(f"{name}: given {given}; accepted: a number above 0")

    @property
    def max_groups(self) -> int:
        """Where some are disturbed. With an interval to reach, further processes replace what was disturbed."""
        return self.groups * _EXTRA_GROUPS if self.within is None else some_more(self.groups)

    @property
    def enough_ms(self) -> float | None:
        return enough_ms(self.groups, self.block_ms) if self.hurried else None


# For one model at a time, where the figure itself is the result. Short processes, so that there are many: they differ
# more than blocks do. Blocks of 5 ms, so that both arms of a group meet the same machine also where a neighbour on the
# same physical core, which a virtual machine cannot see, comes and goes several times a second.
PRECISE = Plan(processes=3, groups=16, block_ms=5.0, warm_up_ms=30.0, within=0.01)


def some_more(groups: int) -> int:
    """``max_groups`` of a process that others stand in for."""
    return groups + max(1, groups // 5)


def enough_ms(groups: int, block_ms: float) -> float:
    """When a process of two arms, whose runs are longer than its blocks were to be, has run enough groups."""
    return _ENOUGH * groups * 4 * block_ms


def profile(
    session: Session,
    job: Job,
    target: Target,
    *,
    reference_ms: float | None = None,
    plan: Plan | None = None,
    on_event: OnEvent | None = None,
) -> Profile:
    """One model on one target.

    ``reference_ms``: the calibration model's usual time on this device (the store's ``reference_ms``); ``None``: its
    time in this very measurement, and then times of different moments are not comparable.

    Raises InputError (the model cannot be used), UnavailableError (device, engine or provider), ParityError (wrong
    output) and MeasurementError.
    """
    (found,) = profile_all(session, [job], target, reference_ms=reference_ms, plan=plan, on_event=on_event)
    if isinstance(found, HwnasError):
        raise found
    return found


def profile_all(
    session: Session,
    jobs: Sequence[Job],
    target: Target,
    *,
    reference_ms: float | None = None,
    plan: Plan | None = None,
    on_event: OnEvent | None = None,
) -> list[Profile | HwnasError]:
    """Several models, their processes in random order, so that a slow minute does not fall on one of them.

    In the order of ``jobs``; where a model cannot be measured, the error stands in its place. ``on_event`` is told of
    "pass" (model, pass, number, of). Raises UnavailableError where the device is lost.
    """
    plan = plan or Plan()
    tell = on_event or (lambda kind, data: None)
    device = session.fingerprint(target)
    taken = [
        (job, Taken(model=job.name, flags=job.flags, shapes={key: list(sizes) for key, sizes in job.shapes.items()}))
        for job in jobs
    ]
    turns = rounds.order([found for _, found in taken], plan, session.clock_s)
    steps = itertools.chain(
        ((*one, "parity", 0) for one in taken),
        ((*taken[which], "latency", number) for which, number in turns),
        ((*one, "memory", 0) for one in taken if plan.memory),
        ((*one, "energy", 0) for one in taken if plan.meter),
    )
    for job, found, name, number in steps:
        if found.error is not None:
            continue
        times = (plan.processes if plan.within is None else None) if name == "latency" else 1
        about = {"half_width": rounds.half_width(found, plan)} if times is None else {}
        tell("pass", {"model": job.name, "pass": name, "number": number, "of": times, **about})
        try:
            _take(session, job, found, name, number, target, plan)
        except MeasurementError as error:
            found.error = type(error)(f"{job.name}: {error}")
        except HwnasError as error:
            if session.closed:
                raise
            found.error = error
    return [
        found.error or assemble(found, aim(target, job), device, reference_ms=reference_ms, plan=plan)
        for job, found in taken
    ]


def check(session: Session, job: Job, target: Target, *, seed: int = 0, deadline_s: float = 300.0) -> None:
    """The parity pass alone. Raises what ``profile`` raises."""
    found = Taken(model=job.name)
    try:
        _take(session, job, found, "parity", 0, target, Plan(seed=seed, deadline_s=deadline_s))
    except MeasurementError as error:
        raise type(error)(f"{job.name}: {error}") from None


def calibrate(session: Session, target: Target, times: int) -> list[float]:
    """The calibration model's median time in ms, from each of ``times`` short fresh processes.

    Their median is a device's reference, see ``profiles.store``.
    """
    return [
        shipped_ms(session, target, "calibration", groups=1, block_ms=_CALIBRATION_MS, seed=number)
        for number in range(times)
    ]


def shipped_ms(session: Session, target: Target, shipped: str, *, groups: int, block_ms: float, seed: int = 0) -> float:
    """Median time in ms of a model that the agent brings, "calibration" or "empty", alone in a fresh process."""
    answer = session.request(
        "latency",
        target=target.to_dict(),
        arms=[{"name": shipped, "model": None, "shipped": shipped}],
        seed=seed,
        groups=groups,
        max_groups=groups,
        block_ms=block_ms,
        warm_up_ms=WARM_UP_MS,
    )
    return float(np.median([time for block in answer["blocks"] for time in block[2]])) / 1e6


def compute_outputs(session: Session, model: Path, target: Target, inputs: Path, outputs: Path) -> None:
    """Run ``model`` on the target over the samples of ``inputs`` (.npy, first axis; one input) and write its first
    output for all of them to ``outputs`` (.npy). This is what the accuracy of an artifact is computed from.

    Raises InputError, UnavailableError and MeasurementError as ``profile`` does.
    """
    session.request(
        "outputs",
        target=target.to_dict(),
        model=session.put(model, onnxfile.external_files(model)),
        inputs=session.put(inputs),
        outputs=(there := session.place(outputs)),
        deadline_s=3600.0,
    )
    session.get(there, outputs)


def write_reference(path: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """The file that ``Job.reference`` takes: inputs by the model's names, and the outputs that are right for them."""
    named = {f"inputs/{name}": array for name, array in inputs.items()}
    named |= {f"outputs/{name}": array for name, array in outputs.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **named)
    write_bytes(path, buffer.getvalue())


def aim(target: Target, job: Job) -> Target:
    """The target as ``job`` uses it: in the precision that its file has."""
    return target if job.precision is None else dataclasses.replace(target, precision=job.precision)


def feeding(session: Session, job: Job) -> dict[str, Any]:
    """The fields of a request that say what a model is fed with."""
    return {
        "shapes": {key: list(shape) for key, shape in job.shapes.items()},
        "inputs": session.put(job.inputs) if job.inputs else None,
    }


def _take(session: Session, job: Job, found: Taken, name: str, number: int, target: Target, plan: Plan) -> None:
    model = session.put(job.model, onnxfile.external_files(job.model))
    common: dict[str, Any] = {
        "target": aim(target, job).to_dict(),
        "seed": plan.seed + number,
        "deadline_s": plan.deadline_s,
        **feeding(session, job),
    }
    if name == "parity":
        found.digest, found.model_size_mb = onnxfile.digest(job.model), onnxfile.size_mb(job.model)
        origin = job.reference_model
        found.parity = session.request(
            "parity",
            model=model,
            reference=session.put(job.reference) if job.reference else None,
            reference_model=session.put(origin, onnxfile.external_files(origin)) if origin else None,
            **common,
        )
    elif name == "latency":
        found.latency[number] = session.request(
            "latency",
            # The calibration model always in the target's own precision, in which its reference was taken.
            arms=[
                {"name": "model", "model": model},
                {"name": "calibration", "model": None, "target": target.to_dict()},
            ],
            groups=plan.groups,
            max_groups=plan.max_groups,
            enough_ms=plan.enough_ms,
            block_ms=plan.block_ms,
            warm_up_ms=plan.warm_up_ms,
            interval_ms=plan.interval_ms,
            **common,
        )
    elif name == "energy" and plan.meter:
        common["deadline_s"] += 2 * (plan.energy_windows + 2) * plan.max_window_s
        found.metered = metering.measure(
            session,
            plan.meter,
            model=model,
            windows=plan.energy_windows,
            max_window_s=plan.max_window_s,
            warm_up_ms=plan.warm_up_ms,
            **common,
        )
    else:
        found.memory = session.request("memory", model=model, **common)
