"""Which file a target runs: in the format of its engine and in its precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from devices.convert import Samples, convert
from devices.engines import PROGRAM
from devices.plan import Job
from devices.session import Session
from profiles.errors import InputError
from profiles.records import Target


def prepare(session: Session, job: Job, target: Target, calibration: Samples | Path | None = None) -> Job:
    """``job`` with the file that ``target`` runs, to be handed to ``devices.measure``.

    For an engine that runs torch programs, ``job.program``, whose precision is the engine's matter, with the ONNX file
    as its reference unless the job has one, so that two engines are compared; for all others
    ``job.model`` converted to the precision of the job or the target, with the fp32 file as its reference unless the
    job has one, and with the job's ``inputs`` as ``calibration`` unless that is given.

    Raises InputError where the job lacks the file that the engine takes, and what ``devices.convert`` raises.
    """
    takes = session.model_format(target)
    precision = job.precision or target.precision
    if takes == PROGRAM:
        program = job.model if job.model.suffix == PROGRAM else job.program
        if program is None:
            raise InputError(
                f"{job.model}: engine {target.engine} cannot run an ONNX file; accepted: an exported program of torch "
                "(.pt2), the name of a reference model, or package.module:callable"
            )
        reference = job.reference_model or (job.model if job.model != program else None)
        return dataclasses.replace(job, model=program, reference_model=reference)
    if job.model.suffix == PROGRAM:
        raise InputError(f"{job.model}: engine {target.engine} cannot run a torch program; accepted: an ONNX file")
    samples, symmetric = calibration or job.inputs, target.provider in ("tensorrt", "nvtensorrtrtx")
    found = convert(job.model, precision, calibration=samples, shapes=job.shapes, symmetric=symmetric)
    if found.model == job.model:
        return job
    reference = job.reference_model or job.model
    return dataclasses.replace(job, model=found.model, reference_model=reference, flags=(*job.flags, *found.flags))
