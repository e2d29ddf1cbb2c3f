"""Peak memory of a model, in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from pathlib import Path

from devices.loading import empty, engine_of, feeds_of
from devices.protocol import Record
from profiles.records import Target

RUNS = 5
# Providers whose weights and activations do not lie in the memory of the process, or not all of them.
_OWN_MEMORY = {"cuda", "tensorrt", "nvtensorrtrtx", "rocm", "migraphx", "directml", "webgpu", "gpu"}
_OWN_MEMORY |= {"npu", "qnn", "nnapi", "coreml", "vitisai", "cann"}


def take(request: Record) -> Record:
    """Peak resident memory (VmHWM) while the model is loaded and run, above that of a process with an empty session.

    The inputs are not counted, the outputs are; so the peak is taken twice, while loading and while running, and what
    reading or making the inputs takes falls between. ``peak_memory_mb`` is ``None`` with a ``reason`` on an accelerator
    with memory of its own, and where the kernel has no VmHWM.
    """
    engine, target = engine_of(request)
    if reason := unread_memory(target):
        return {"peak_memory_mb": None, "reason": reason}
    _kept = empty(engine, target)  # the peak is counted from a process that has it
    _trim()
    _reset_peak()
    before = _peak_kb()
    model = engine.load(Path(request["model"]), target)
    loading = _peak_kb()
    feeds = feeds_of(model, target, request)
    _reset_peak()  # without a trim: what loading left behind stays in a process that goes on to run
    model.bind(feeds)
    for _ in range(RUNS):
        model.run()
    running = _peak_kb()
    if before is None or loading is None or running is None:
        return {"peak_memory_mb": None, "reason": "this kernel does not report VmHWM"}
    inputs_kb = sum(array.nbytes for array in feeds.values()) / 1024
    return {"peak_memory_mb": max(0.0, max(loading, running - inputs_kb) - before) * 1024 / 1e6}


def unread_memory(target: Target) -> str | None:
    """Why the memory of a process would not be that of the model; ``None``: it is."""
    if re.split("[-.]", target.provider)[0] not in _OWN_MEMORY:  # "cuda-graph" and "gpu.1" too
        return None
    return f"the memory of the process is not what a model takes on {target.provider}: the device's own is not read"


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
