"""The model of a request, ready to run: its engine, the file, what it is fed with, and how it is timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import blocks, disturbance, inputs
from devices.engines import Engine, Loaded, format_of
from devices.inputs import Arrays, Input
from devices.protocol import Record
from profiles import registry
from profiles.clock import now_ns
from profiles.errors import InputError
from profiles.records import Target


def engine_of(request: Record) -> tuple[Engine, Target]:
    target = Target(**request["target"])
    return registry.find("devices.engines", target.engine), target


def ready(request: Record) -> tuple[Loaded, Record]:
    """The model of one arm, after its first run; ``load_ns``, ``first_run_ns`` and ``build_ns``, a part of the first,
    ``None`` where the engine builds nothing that it could time.

    What is built for the shapes that are bound is a part of loading, as in engines that build when they load.
    """
    engine, target = engine_of(request)
    start = now_ns()
    model = engine.load(_model(request, engine), target)
    load_ns = now_ns() - start
    first_run_ns = model.bind(feeds_of(model, target, request if request["model"] else {}))
    build_ns = getattr(model, "build_ns", None)
    return model, {"load_ns": load_ns + (build_ns or 0), "first_run_ns": first_run_ns, "build_ns": build_ns}


def arm(model: Loaded, request: Record, sources: disturbance.Sources, prime: Callable[[], None]) -> blocks.Arm:
    """``prime``: see ``prime_of``."""
    return blocks.arm(
        model.run,
        block_ms=request["block_ms"],
        warm_up_ms=request["warm_up_ms"],
        interval_ms=request.get("interval_ms"),
        reading=sources.read,
        prime=prime,
    )


def prime_of(request: Record) -> Callable[[], None]:
    """What ``blocks.arm`` calls before each run: the model that copies one number, where the engine is primed."""
    engine, target = engine_of(request)
    if request.get("interval_ms") or target.provider not in getattr(engine, "PRIMED", ()):
        return lambda: None
    return empty(engine, target).run


def empty(engine: Engine, target: Target) -> Loaded:
    """The shipped model that copies one number for each sample, after its first run."""
    model = engine.load(package_file("empty" + format_of(engine)), target)
    model.bind(feeds_of(model, target, {}))
    return model


def feeds_of(model: Loaded, target: Target, request: Record) -> Arrays:
    if request.get("inputs"):
        return inputs.read_npz(Path(request["inputs"]), model.inputs, target.batch)
    shapes = inputs.shapes_of(model.inputs, target.batch, request.get("shapes") or {})
    return inputs.random_inputs(model.inputs, shapes, request.get("seed", 0))


def samples_of(request: Record, target: Target, known: Sequence[Input]) -> tuple[npt.NDArray[Any], int]:
    """The samples of ``request["inputs"]``, and how many the model takes at once. ``known``: the model's inputs.

    Raises InputError.
    """
    try:
        samples: npt.NDArray[Any] = np.load(request["inputs"], allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{request['inputs']}: not a readable .npy file of plain numbers: {error}") from None
    if len(known) != 1:
        raise InputError(f"{request['model']}: has {len(known)} inputs; accepted here: one")
    if samples.ndim == 0 or len(samples) == 0:
        raise InputError(f"{request['inputs']}: holds no samples")
    fixed = known[0].dims[:1]
    return samples, fixed[0] if fixed and isinstance(fixed[0], int) else target.batch


def read_reference(path: Path, model: Loaded, batch: int) -> tuple[Arrays, Arrays]:
    """Inputs for ``model`` and the outputs that belong to them; a single sample as often as ``batch`` says."""
    wanted = [dataclasses.replace(tensor, name=f"inputs/{tensor.name}") for tensor in model.inputs]
    arrays = inputs.read_npz(path, wanted)
    feeds = {name.removeprefix("inputs/"): array for name, array in arrays.items()}
    with np.load(path, allow_pickle=False) as file:
        expected = {name.removeprefix("outputs/"): file[name] for name in file.files if name.startswith("outputs/")}
    if {len(array) if array.ndim else 0 for array in (*feeds.values(), *expected.values())} == {1}:
        feeds, expected = (
            {name: np.repeat(array, batch, axis=0) for name, array in some.items()} for some in (feeds, expected)
        )
    return feeds, expected


def _model(request: Record, engine: Engine) -> Path | bytes:
    shipped = request.get("shipped", "calibration")
    return Path(request["model"]) if request["model"] else package_file(shipped + format_of(engine))


def package_file(name: str) -> bytes:
    """From the folder, or from within the zip file that the agent is."""
    return resources.files("devices").joinpath(name).read_bytes()
