"""What ONNX Runtime's trace says: where each node ran, and how long it took."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np


def placement_of(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Node -> provider that ran it, from the events of ONNX Runtime's trace."""
    ran = [event for event in events if event.get("args", {}).get("provider")]
    found = {event["name"]: event["args"]["provider"] for event in ran}
    return {name.removesuffix("_kernel_time"): short(provider) for name, provider in found.items()}


def operators_of(events: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, float]]:
    """(node, operator, provider, time in ns) of each node of the optimised graph, in the order they first ran.

    The time is the median over the runs of what a node took in one: a node in the body of a loop all its turns, and the
    loop what it took beside its body. The first run is left out: it is slower, and its time is another figure.
    """
    kernels = [e for e in events if e["name"].endswith("_kernel_time") and e.get("args", {}).get("provider")]
    kernels.sort(key=lambda event: (event["ts"], -event["dur"]))
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run") or [0]
    found: dict[tuple[str, str, str], list[float]] = {}
    around: list[tuple[float, list[float], int]] = []  # end, times and run of the nodes that this one runs within
    for event in kernels:
        while around and around[-1][0] <= event["ts"]:
            around.pop()
        name, about = event["name"].removesuffix("_kernel_time"), event["args"]
        run = max(0, bisect.bisect_right(starts, event["ts"]) - 1)
        times = found.setdefault((name, about.get("op_name", ""), short(about["provider"])), [0.0] * len(starts))
        times[run] += event["dur"]
        if around:
            _, outer, outer_run = around[-1]
            outer[outer_run] -= event["dur"]
        around.append((event["ts"] + event["dur"], times, run))
    return [(*node, 1e3 * float(np.median(times[1:] or times))) for node, times in found.items()]


def short(provider: str) -> str:
    """'CUDAExecutionProvider' -> 'cuda', as targets name it."""
    name = provider.removesuffix("ExecutionProvider").lower()
    return {"dml": "directml"}.get(name, name)
