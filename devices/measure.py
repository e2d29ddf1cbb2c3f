"""Profiles of models: which passes, in which order.

For each model: parity first, and no number where the output is wrong; then latency in fresh processes, in random order
where there are several models; then memory, and energy where there is a meter. Each pass is one request to the agent.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import metering, onnxfile, rounds
from devices.assemble import Taken, assemble
from devices.plan import WARM_UP_MS, Job, Plan, aim
from devices.protocol import Record
from devices.session import OnEvent, Session
from profiles.errors import HwnasError, MeasurementError
from profiles.files import write_bytes
from profiles.records import Profile, Target

_CALIBRATION_MS = 50.0  # two blocks of this, for each time of `calibrate`

Array = npt.NDArray[Any]


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
        about = {"half_width": found.half_width} if times is None else {}
        tell("pass", {"model": job.name, "pass": name, "number": number, "of": times, **about})
        try:
            _take(session, job, found, name, number, target, plan)
        except MeasurementError as error:
            found.error = type(error)(f"{job.name}: {error}")
        except HwnasError as error:
            if session.closed:
                raise
            named = len(jobs) == 1 or str(error).startswith(job.name)
            found.error = error if named else type(error)(f"{job.name}: {error}")
    return [
        found.error or assemble(found, aim(target, job), device, reference_ms=reference_ms, plan=plan)
        for job, found in taken
    ]


def check(session: Session, job: Job, target: Target, *, seed: int = 0, deadline_s: float = 300.0) -> str:
    """The parity pass alone; the digest of the model. Raises what ``profile`` raises."""
    found = Taken(model=job.name)
    try:
        _take(session, job, found, "parity", 0, target, Plan(seed=seed, deadline_s=deadline_s))
    except MeasurementError as error:
        raise type(error)(f"{job.name}: {error}") from None
    return found.digest


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
        found.memory = _memory(session, model=model, **common)


def _memory(session: Session, **request: Any) -> Record:
    """A model that runs may still not fit beside the empty session that its memory is compared with."""
    try:
        return session.request("memory", **request)
    except MeasurementError as error:
        return {"peak_memory_mb": None, "reason": str(error)}
