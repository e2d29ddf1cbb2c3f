"""What a worker can be asked for. Each is a pass of its own, since one disturbs the other.

    fingerprint   what the device and its engine are
    parity        run once, compare the outputs with a reference; where each node ran
    outputs       run over a whole data set, keep the first output
    latency       time models against each other in interleaved blocks
    memory        peak memory above an empty session
    energy        run in windows while a meter is read
    meter         what the meter is, after one reading

Requests that run a model hold ``target`` (the fields of a Target), paths as seen on the device, and ``seed`` for random
inputs.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from devices import (
    blocks,
    conditions,
    disturbance,
    energy_pass,
    fallback,
    fingerprint,
    inputs,
    memory_pass,
    meters,
    parity,
)
from devices.engines import PROGRAM, Engine, Loaded, format_of
from devices.inputs import Arrays
from devices.loading import arm, engine_of, feeds_of, prime_of, read_reference, ready, samples_of
from devices.protocol import Record
from profiles import registry
from profiles.errors import MeasurementError, ParityError, UnavailableError
from profiles.records import Target

_DEVICE_RUNS = 100  # timed by the accelerator's own events


def describe(request: Record) -> Record:
    engine, _ = engine_of(request)
    return {
        "device": fingerprint.fingerprint(engine.versions()),
        "format": format_of(engine),
        "providers": engine.providers(),
    }


def check_parity(request: Record) -> Record:
    """``model``; ``reference``: an .npz with the arrays "inputs/NAME" and "outputs/NAME", or ``None``: then the outputs
    of ``reference_model`` (``None``: the model itself) on one CPU thread without optimisations, for random inputs: by
    ONNX Runtime for an ONNX file and by torch for a program, where the device has that, else by the target's engine.
    """
    engine, target = engine_of(request)
    model = engine.load(Path(request["model"]), target, trace=True)
    if request.get("reference"):
        feeds, expected = read_reference(Path(request["reference"]), model, target.batch)
    else:
        feeds = feeds_of(model, target, request)
        plain = dataclasses.replace(target, provider="cpu", precision="fp32", threads=1)
        judge, origin = _reference(engine, target, request)
        reference = judge.load(origin, plain, plain=True)
        _bind(reference, feeds, request)
        expected = reference.outputs()
    _bind(model, feeds, request)
    outputs = model.outputs()
    try:
        found = parity.agreement(outputs, expected)
        parity.judge(found, target.precision)
    except ParityError as error:
        model.run()
        if parity.same(model.outputs(), outputs):
            raise
        reason = "its outputs differ from run to run, as those of random nodes and of dropout in training mode do"
        raise ParityError(f"{error}; {reason}") from None
    placement = fallback.judge(model.placement(), target)
    return {"output_error": found.error, **placement}


def compute_outputs(request: Record) -> Record:
    """``inputs``: an .npy file, samples along its first axis, for a model with one input. ``outputs``: the .npy file to
    write, the first output for all samples. In batches of ``target.batch``; the last one is filled up by repetition.
    """
    engine, target = engine_of(request)
    model = engine.load(Path(request["model"]), target)
    samples, batch = samples_of(request, target, model.inputs)
    name = model.inputs[0].name
    found = []
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        full = np.take(part, np.arange(batch), axis=0, mode="wrap") if len(part) < batch else np.array(part)
        model.bind(inputs.check({name: full}, model.inputs, str(request["inputs"])))
        found.append(next(iter(model.outputs().values()))[: len(part)])
    np.save(request["outputs"], np.concatenate(found), allow_pickle=False)
    return {"samples": len(samples)}


def time_latency(request: Record) -> Record:
    """``arms``: a list of {"name", "model"}, no model being the calibration model, or the one of the agent that
    "shipped" names; "target", "shapes" and "inputs" of an arm stand before those of the request. The rest as in
    ``blocks.measure`` and ``blocks.arm``.

    ``load_ns``, ``first_run_ns`` and ``device_ms`` (``None``: the engine has no events) are those of the first arm, in
    this fresh process. ``before`` and ``after``: what the machine was like.
    """
    models: dict[str, Loaded] = {}
    first: Record = {}
    for each in request["arms"]:
        models[each["name"]], times = ready({**request, **each})
        first = first or times
    prime = prime_of(request)
    gc.collect()
    gc.disable()
    sources, provider = disturbance.Sources(), request["target"]["provider"]
    before = conditions.state(sources.read(), provider)
    found = blocks.measure(
        {name: arm(model, request, sources, prime) for name, model in models.items()},
        groups=request["groups"],
        max_groups=request["max_groups"],
        seed=request["seed"],
        enough_ms=request.get("enough_ms"),
        paced=bool(request.get("interval_ms")),
    )
    after = conditions.state(sources.read(), provider)
    first["device_ms"] = _device_ms(next(iter(models.values())))
    return {**first, "before": before, "after": after, "blocks": [dataclasses.astuple(block) for block in found]}


def measure_energy(request: Record) -> Record:
    """``meter``: its setting; the rest as in ``energy_pass.take``."""
    engine, target = engine_of(request)
    model = engine.load(Path(request["model"]), target)
    model.bind(feeds_of(model, target, request))
    return energy_pass.take(
        model.run,
        meters.create(request["meter"]),
        windows=request["windows"],
        max_window_s=request["max_window_s"],
        warm_up_s=request["warm_up_ms"] / 1e3,
        seed=request["seed"],
    )


def probe_meter(request: Record) -> Record:
    return energy_pass.probe(meters.create(request["meter"]))


OPERATIONS: dict[str, Callable[[Record], Record]] = {
    "fingerprint": describe,
    "parity": check_parity,
    "outputs": compute_outputs,
    "latency": time_latency,
    "memory": memory_pass.take,
    "energy": measure_energy,
    "meter": probe_meter,
}


def _bind(model: Loaded, feeds: Arrays, request: Record) -> None:
    try:
        model.bind(feeds)
    except MeasurementError as error:
        if (
            request.get("inputs")
            or request.get("reference")
            or all(one.dtype.kind not in "iu" for one in feeds.values())
        ):
            raise
        hint = "perhaps since its integers are made up, all 1 where they are wide: give others with --inputs FILE.npz"
        raise MeasurementError(f"{error}; {hint}") from None


def _device_ms(model: Loaded) -> list[float] | None:
    """After the blocks, which it must not disturb."""
    timed = getattr(model, "device_ms", None)
    found: list[float] | None = timed(_DEVICE_RUNS) if timed else None
    return found


def _reference(engine: Engine, target: Target, request: Record) -> tuple[Engine, Path]:
    """What judges the outputs, and the file that it runs: another engine than the target's own, where there is one,
    since two engines seldom have the same error."""
    origin = Path(request.get("reference_model") or request["model"])
    if target.engine == "null":
        return engine, origin
    try:
        return registry.find("devices.engines", "torch" if origin.suffix == PROGRAM else "onnxruntime"), origin
    except UnavailableError:
        return engine, origin if origin.suffix == format_of(engine) else Path(request["model"])
