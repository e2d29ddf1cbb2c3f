"""MODEL on the command line: an ONNX file, a reference model's name, or ``package.module:callable`` giving a module."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from devices.convert import input_names, own_precision
from devices.engines import PROGRAM
from devices.measure import write_reference
from devices.plan import Job
from nas import models as reference
from profiles import registry
from profiles.errors import InputError, TrialError

Shapes = Mapping[str, tuple[int, ...]]


def jobs(models: Sequence[str], *, shapes: Shapes, inputs: Path | None, folder: Path) -> list[Job]:
    """What to measure. ``folder``: for files that are made on the way.

    Names are those of the files, with as much of the path as tells them apart. Raises InputError.
    """
    if inputs is not None and not inputs.is_file():
        raise InputError(f"--inputs {inputs}: there is no such file")
    found = []
    kinds = [_kind(model) for model in models]  # of all first: exporting one takes seconds
    to_export = shapes
    if inputs and "callable" in kinds:
        shapes = {}  # they were for that one: the file of inputs has shapes of its own
    for number, (model, name, kind) in enumerate(zip(models, _names(models), kinds, strict=True)):
        if kind == "callable":
            found.append(_exported(model, to_export, inputs, folder / str(number)))
        elif kind == "reference":
            found.append(dataclasses.replace(reference.job(model), shapes=shapes, inputs=inputs))
        else:
            precision = own_precision(Path(model))
            found.append(Job(model=Path(model), name=name, shapes=shapes, inputs=inputs, precision=precision))
    return _each_its_own(found) if shapes and len(found) > 1 else found


def parse_shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """'input=1x3x224x224' -> {"input": (1, 3, 224, 224)}. Raises InputError."""
    found = {}
    for text in given:
        match = re.fullmatch(r"([^=]+)=([0-9]+(?:x[0-9]+)*)", text)
        if match is None:
            raise InputError(f"--shape: given {text!r}; accepted: NAME=SIZES, such as input=1x3x224x224")
        found[match[1]] = tuple(int(size) for size in match[2].split("x"))
        if found[match[1]][0] == 0:
            raise InputError(f"--shape: given {text!r}; accepted: a first size, the batch, above 0")
    return found


def without_batch(shapes: Shapes) -> tuple[Shapes, int | None]:
    """The shapes of one sample, and how many were given at once where they agree; else as they are, and ``None``.

    So that 8x3x224x224 is a batch of 8 in every record, and what --batch and --sweep may change.
    """
    firsts = {shape[0] for shape in shapes.values() if len(shape) > 1}
    if len(firsts) != 1 or firsts == {1}:
        return shapes, None
    return {name: (1, *shape[1:]) if len(shape) > 1 else shape for name, shape in shapes.items()}, firsts.pop()


def _kind(model: str) -> Literal["file", "callable", "reference"]:
    """Raises InputError where it is none of them."""
    if Path(model).is_file():
        return "file"
    if ":" in model and "/" not in model and not model.endswith((".onnx", PROGRAM)):
        return "callable"
    if model in reference.names():
        return "reference"
    if Path(model).is_dir():
        raise InputError(f"{model}: given a folder; accepted: a model file")
    known = ", ".join(reference.names())
    raise InputError(f"{model}: there is no such model file; nor is it a reference model: {known}")


def _exported(model: str, shapes: Shapes, inputs: Path | None, folder: Path) -> Job:
    """For engines of both kinds, with its own weights, whose outputs in torch are then what parity is judged by."""
    if len(shapes) != 1:
        raise InputError(f"{model}: give the shape of its one input, batch first: --shape input=1x3x224x224")
    ((_, shape),) = shapes.items()
    if len(shape) < 2:
        raise InputError(
            f"{model}: --shape {'x'.join(map(str, shape))}: accepted: the batch, then the input's own shape"
        )
    build = registry.find("benchmarks", model)
    if not isinstance(build, Callable):  # type: ignore[arg-type]
        raise InputError(f"{model}: is not callable; accepted: a function or class that gives an nn.Module")
    from nas import export

    try:
        module: Any = reference.seeded(build)  # without weights of its own it is the same network in each call
    except (Exception, SystemExit) as error:  # of the user's: anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{model}: calling it failed: {reason}") from error
    if not hasattr(module, "state_dict"):
        raise InputError(f"{model}: gave {type(module).__name__}; accepted: an nn.Module")
    path, program, right = folder / "model.onnx", folder / "model.pt2", folder / "reference.npz"
    export.export_onnx(module, path, input_shape=shape[1:])
    with contextlib.suppress(TrialError):  # what torch cannot export is an ONNX file alone
        export.export_program(module, program, input_shape=shape[1:])
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    write_reference(right, {export.INPUT: x}, {export.OUTPUT: export.reference_output(module, x)})
    shapes = {} if inputs else {export.INPUT: shape}
    found = program if program.is_file() else None
    return Job(model=path, program=found, name=model, reference=right, shapes=shapes, inputs=inputs)


def _each_its_own(jobs: Sequence[Job]) -> list[Job]:
    """Each with the shapes of its own inputs: several models may call theirs differently."""
    names = [_inputs_of(job) for job in jobs]
    for unknown in sorted({name for job in jobs for name in job.shapes}.difference(*names)):
        raise InputError(f"--shape {unknown}: none of the models has such an input")
    return [
        dataclasses.replace(job, shapes={name: shape for name, shape in job.shapes.items() if name in known})
        for job, known in zip(jobs, names, strict=True)
    ]


def _inputs_of(job: Job) -> frozenset[str]:
    """Of a file that does not say, all that were given: whoever measures it says what is wrong."""
    with contextlib.suppress(InputError):
        if job.model.suffix != PROGRAM:
            return input_names(job.model)
    return frozenset(job.shapes)


def _names(models: Sequence[str]) -> list[str]:
    """File names where those differ, else the paths as given."""
    short = [Path(model).name for model in models]
    return short if len(set(short)) == len(set(models)) else list(models)
