"""The program behind ``transport = "null"``: answers as an agent does, after a fixed time, and measures nothing.

Needs the standard library only and few MB, so that hundreds of them fit on one machine.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

RUNS = 20
HEALTH: dict[str, Any] = {  # as of devices.health; there is nothing to complain of
    "python": None,
    "executable": None,
    "machine": "null",
    "packages": {},
    "user": "null",
    "disk_free_mb": 1e6,
    "memory_free_mb": None,
    "cores": 1,
    "throttled": None,
    "governors": [],
    "turbo": None,
    "temperature_c": None,
    "busy": [],
    "pressure": None,
    "on_battery": None,
    "virtual": False,
    "clock_step_ns": 1,
}


def answer(operation: str, request: dict[str, Any], time_s: float) -> dict[str, Any]:
    if operation == "hello":
        return {"pid": 0}
    time.sleep(time_s)
    if operation == "health":
        return {"health": HEALTH | {"time_s": time.time()}}
    if operation == "fingerprint":
        versions = {"python": "0", "numpy": "0", "null": "1"}
        device = {"machine": "null", "cpu": "null", "cores": 1, "versions": versions}
        return {"device": device, "format": ".onnx", "providers": ["cpu"]}
    if operation == "parity":
        placement = {"node_providers": {request["target"]["provider"]: 1}, "fallen_back": {}, "fallback_percent": 0.0}
        return {"output_error": 0.0, **placement}
    if operation in ("latency", "rivals"):
        names = [arm["name"] for arm in request["arms"]]
        order = [*names, *reversed(names)]
        blocks = [
            [group, name, [1_000_000 + 1000 * (run % 3) for run in range(RUNS)], [], None, None]
            for group in range(request["groups"])
            for name in order
        ]
        state = {"frequency_khz": None, "temperature_mc": None, "foreign_gpu": None}
        return {"load_ns": 1_000_000, "first_run_ns": 1_000_000, "before": state, "after": state, "blocks": blocks}
    if operation == "memory":
        return {"peak_memory_mb": 1.0}
    message = "the null device does not know the operation " + operation
    return {"error": {"kind": "UnavailableError", "message": message}}


def main() -> None:
    time_s = float(sys.argv[1]) / 1000
    for line in sys.stdin:
        request = json.loads(line)
        found = answer(request["op"], request, time_s)
        final = {"id": request["id"], **({} if "error" in found else {"done": True}), **found}
        sys.stdout.write(json.dumps(final, separators=(",", ":")) + "\n")
        sys.stdout.flush()


main()
