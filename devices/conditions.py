"""What the machine was like before, during and after a measurement: frequency, temperature, who else was on the GPU."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from devices import gpus
from devices.disturbance import Reading

_GPU_PROVIDERS = ("cuda", "tensorrt", "nvtensorrtrtx")


def state(
    reading: Reading, *providers: str, own: Iterable[int] = (), gpu_users: Callable[[], list[int]] | None = None
) -> dict[str, Any]:
    """JSON-ready. ``foreign_gpu``: processes that compute on the GPU of this one, other than this one and those of
    ``own``; ``None`` where nobody says, or where none of these is among them: asked while a model is loaded, the
    driver then does not know this process by its number here, as in a container.

    Only for providers that run there, and never between blocks: asking the driver disturbs it.
    """
    foreign = None
    if any(provider.partition("-")[0] in _GPU_PROVIDERS for provider in providers):  # "cuda-graph" too
        users = _nvml_users() if gpu_users is None else gpu_users()
        ours = {os.getpid(), *own}
        foreign = len(set(users) - ours) if users and ours & set(users) else None
    return {
        "frequency_khz": reading.frequency_khz,
        "temperature_mc": reading.temperature_mc,
        "foreign_gpu": foreign,
    }


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the record holds of the answers of all latency passes, in the order they ran.

    ``temperature_c``: before, highest and after; ``frequency_mhz``: before, lowest and after; each ``None`` where the
    machine does not say. ``reasons``: how many blocks were disturbed by what.
    """
    blocks = [block for answer in answers for block in answer["blocks"]]
    first, last = answers[0]["before"], answers[-1]["after"]
    foreign = [answer[when]["foreign_gpu"] for answer in answers for when in ("before", "after")]
    return {
        "frequency_mhz": _three(first["frequency_khz"], (b[4] for b in blocks), last["frequency_khz"], min),
        "temperature_c": _three(first["temperature_mc"], (b[5] for b in blocks), last["temperature_mc"], max),
        "foreign_gpu_processes": max((count for count in foreign if count is not None), default=None),
        "blocks": len(blocks),
        "disturbed_blocks": sum(bool(block[3]) for block in blocks),
        "reasons": dict(Counter(reason for block in blocks for reason in block[3])),
    }


def flags(found: dict[str, Any]) -> tuple[str, ...]:
    """Of a summary: "throttled", "foreign_gpu"."""
    throttled = ("throttled",) if found["reasons"].get("throttled") else ()
    return throttled + (("foreign_gpu",) if found["foreign_gpu_processes"] else ())


def _three(before: int | None, during: Iterable[int | None], after: int | None, pick: Any) -> list[float] | None:
    known = [value for value in during if value is not None]
    if before is None or after is None or not known:
        return None
    return [round(value / 1e3, 1) for value in (before, pick(known), after)]


def _nvml_users() -> list[int] | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpus.first(pynvml))]
    except pynvml.NVMLError:
        return None
