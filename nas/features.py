"""Numbers that describe a network, whatever its space: what a model of accuracy or latency can learn from.

Each is there twice: of all operations, and ("live") of those on a path from the input to the output, since some
runtimes drop dead branches and others do not.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from nas.graph import Operation


def describe(operations: Sequence[Operation]) -> dict[str, float]:
    """Name -> number. A name that is missing stands for 0.

    ``count K``, ``macs K``   operations of a kind (``conv2d 3x3``), and their multiply-accumulates in millions
    ``log macs|weights|elements|peak``   of the whole network; elements: of all results; peak: of those alive at once
    ``longest|shortest|mean``   operations with weights on a path from the input to the output
    ``log paths``             the number of such paths
    ``depth at 1/4``          operations with weights whose result has a quarter of the input's positions, rounded to
                              powers of two; ``log macs at 1/4`` likewise
    """
    live = [operation for operation in operations if operation.live]
    found = {f"live {name}": value for name, value in _sums(live).items()} | _sums(operations)
    if live:
        found |= _paths(operations)
    return found


def work(operations: Sequence[Operation]) -> dict[str, float]:
    """What adds up over operations, as their time does; a name that is missing stands for 0.

    ``count K``, ``macs K``, ``elements K``   operations of a kind, their multiply-accumulates and the elements of their
    results, both in millions
    """
    found: dict[str, float] = defaultdict(float)
    for operation in operations:
        found[f"count {operation.kind}"] += 1
        found[f"macs {operation.kind}"] += operation.macs / 1e6
        found[f"elements {operation.kind}"] += operation.elements / 1e6
    return {name: value for name, value in found.items() if value}


def _sums(operations: Sequence[Operation]) -> dict[str, float]:
    found = {name: value for name, value in work(operations).items() if not name.startswith("elements ")}
    at: dict[str, float] = defaultdict(float)
    size = next((operation.positions for operation in operations if operation.positions), 0)
    for operation in operations:
        if operation.macs and operation.positions and size:
            level = round(math.log2(size / operation.positions))
            at[f"depth at 1/{2**level}"] += 1
            at[f"log macs at 1/{2**level}"] += operation.macs
    found |= at
    found |= {name: math.log1p(value) for name, value in found.items() if name.startswith("log ")}
    found["log macs"] = math.log1p(sum(operation.macs for operation in operations))
    found["log weights"] = math.log1p(sum(operation.weights for operation in operations))
    found["log elements"] = math.log1p(sum(operation.elements for operation in operations))
    found["log peak"] = math.log1p(_peak(operations))
    return found


def _peak(operations: Sequence[Operation]) -> int:
    """Elements of results that are needed at once, at the most. 0 without operations."""
    last = list(range(len(operations)))
    for step, operation in enumerate(operations):
        for node in operation.inputs:
            if node < len(last):
                last[node] = step
    freed: Counter[int] = Counter()
    for node, step in enumerate(last):
        freed[step] += operations[node].elements
    alive = peak = 0
    for step, operation in enumerate(operations):
        alive += operation.elements
        peak = max(peak, alive)
        alive -= freed[step]
    return peak


def _paths(operations: Sequence[Operation]) -> dict[str, float]:
    """Over live operations only. A path's length is its number of operations with weights or products."""
    longest: dict[int, int] = {}
    shortest: dict[int, int] = {}
    mean: dict[int, float] = {}
    log_number: dict[int, float] = {}
    last = 0
    for node, operation in enumerate(operations):
        if not operation.live:
            continue
        before = [other for other in operation.inputs if operations[other].live]
        step = int(operation.macs > 0)
        longest[node] = max((longest[other] for other in before), default=0) + step
        shortest[node] = min((shortest[other] for other in before), default=0) + step
        top = max((log_number[other] for other in before), default=0.0)
        shares = [math.exp(log_number[other] - top) for other in before]
        log_number[node] = top + math.log(sum(shares)) if before else 0.0
        weighed = sum(share * mean[other] for share, other in zip(shares, before, strict=True))
        mean[node] = (weighed / sum(shares) if before else 0.0) + step
        last = node
    return {
        "longest": float(longest[last]),
        "shortest": float(shortest[last]),
        "mean": mean[last],
        "log paths": log_number[last],
    }
