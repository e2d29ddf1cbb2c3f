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

import contextlib
import ctypes
import dataclasses
import gc
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import blocks, conditions, disturbance, energy_pass, fallback, fingerprint, inputs, meters, parity
from devices.engines import PROGRAM, Engine, Loaded, format_of
from devices.inputs import Arrays, Input
from devices.protocol import Record
from profiles import registry
from profiles.clock import now_ns
from profiles.errors import InputError, UnavailableError
from profiles.records import Target

MEMORY_RUNS = 5
# Providers whose weights and activations do not lie in the memory of the process, or not all of them.
_OWN_MEMORY = ("cuda", "tensorrt", "nvtensorrtrtx", "rocm", "migraphx", "directml", "webgpu", "gpu", "npu")
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
        reference.bind(feeds)
        expected = reference.outputs()
    model.bind(feeds)
    found = parity.agreement(model.outputs(), expected)
    parity.judge(found, target.precision)
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
    gc.collect()
    gc.disable()
    sources, provider = disturbance.Sources(), request["target"]["provider"]
    before = conditions.state(sources.read(), provider)
    found = blocks.measure(
        {name: arm(model, request, sources) for name, model in models.items()},
        groups=request["groups"],
        max_groups=request["max_groups"],
        seed=request["seed"],
        enough_ms=request.get("enough_ms"),
        paced=bool(request.get("interval_ms")),
    )
    after = conditions.state(sources.read(), provider)
    first["device_ms"] = _device_ms(next(iter(models.values())))
    return {**first, "before": before, "after": after, "blocks": [dataclasses.astuple(block) for block in found]}


def measure_memory(request: Record) -> Record:
    """Peak resident memory (VmHWM) while the model is loaded and run, above that of a process with an empty session.

    The inputs are not counted, the outputs are; so the peak is taken twice, while loading and while running, and what
    reading or making the inputs takes falls between. ``peak_memory_mb`` is ``None`` with a ``reason`` on an accelerator
    with memory of its own, and where the kernel has no VmHWM.
    """
    engine, target = engine_of(request)
    if reason := unread_memory(target):
        return {"peak_memory_mb": None, "reason": reason}
    empty = engine.load(_package_file("empty" + format_of(engine)), target)
    empty.bind(feeds_of(empty, target, {}))
    _trim()
    _reset_peak()
    before = _peak_kb()
    model = engine.load(Path(request["model"]), target)
    loading = _peak_kb()
    feeds = feeds_of(model, target, request)
    _reset_peak()  # without a trim: what loading left behind stays in a process that goes on to run
    model.bind(feeds)
    for _ in range(MEMORY_RUNS):
        model.run()
    running = _peak_kb()
    if before is None or loading is None or running is None:
        return {"peak_memory_mb": None, "reason": "this kernel does not report VmHWM"}
    inputs_kb = sum(array.nbytes for array in feeds.values()) / 1024
    return {"peak_memory_mb": max(0.0, max(loading, running - inputs_kb) - before) * 1024 / 1e6}


def unread_memory(target: Target) -> str | None:
    """Why the memory of a process would not be that of the model; ``None``: it is."""
    if target.provider.partition("-")[0] not in _OWN_MEMORY:  # "cuda-graph" of engine torch too
        return None
    return f"the memory of the process is not what a model takes on {target.provider}: the device's own is not read"


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
    "memory": measure_memory,
    "energy": measure_energy,
    "meter": probe_meter,
}


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


def arm(model: Loaded, request: Record, sources: disturbance.Sources) -> blocks.Arm:
    return blocks.arm(
        model.run,
        block_ms=request["block_ms"],
        warm_up_ms=request["warm_up_ms"],
        interval_ms=request.get("interval_ms"),
        reading=sources.read,
    )


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


def engine_of(request: Record) -> tuple[Engine, Target]:
    target = Target(**request["target"])
    return registry.find("devices.engines", target.engine), target


def feeds_of(model: Loaded, target: Target, request: Record) -> Arrays:
    if request.get("inputs"):
        return inputs.read_npz(Path(request["inputs"]), model.inputs, target.batch)
    shapes = inputs.shapes_of(model.inputs, target.batch, request.get("shapes") or {})
    return inputs.random_inputs(model.inputs, shapes, request.get("seed", 0))


def _device_ms(model: Loaded) -> list[float] | None:
    """After the blocks, which it must not disturb."""
    timed = getattr(model, "device_ms", None)
    found: list[float] | None = timed(_DEVICE_RUNS) if timed else None
    return found


def _model(request: Record, engine: Engine) -> Path | bytes:
    shipped = request.get("shipped", "calibration")
    return Path(request["model"]) if request["model"] else _package_file(shipped + format_of(engine))


def _package_file(name: str) -> bytes:
    """From the folder, or from within the zip file that the agent is."""
    return resources.files("devices").joinpath(name).read_bytes()


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


def _peak_kb() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _reset_peak() -> None:
    """Let the peak start again from what is resident now; where the kernel forbids it, the older peak hides a part."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _trim() -> None:
    """Give freed memory back, or the model would be loaded into it and seem smaller (glibc only)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
