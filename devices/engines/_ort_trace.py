"""What ONNX Runtime's trace says: where each node ran, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def placement_of(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Node -> provider that ran it, from the events of ONNX Runtime's trace."""
    ran = [event for event in events if event.get("args", {}).get("provider")]
    found = {event["name"]: event["args"]["provider"] for event in ran}
    return {name.removesuffix("_kernel_time"): short(provider) for name, provider in found.items()}


def operators_of(events: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, float]]:
    """(node, operator, provider, median time in ns) of each node of the optimised graph, in the order they run."""
    found: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        arguments = event.get("args", {})
        if event["name"].endswith("_kernel_time") and arguments.get("provider"):
            name = event["name"].removesuffix("_kernel_time")
            found.setdefault(name, []).append(event["dur"] * 1e3)
            kinds[name] = (arguments.get("op_name", ""), short(arguments["provider"]))
    # The first run is slower, and its time is another figure.
    return [(name, *kinds[name], float(np.median(times[1:] or times))) for name, times in found.items()]


def short(provider: str) -> str:
    """'CUDAExecutionProvider' -> 'cuda', as targets name it."""
    name = provider.removesuffix("ExecutionProvider").lower()
    return {"dml": "directml"}.get(name, name)
