"""Units of work whose results are appended at once, so that a figure can be taken in pieces and goes on.

One JSON line each: {"version", "kind", "number", "seconds", ...}. A version is a digest of the code that measures and
judges latencies on ONNX Runtime (``MEASURING``) and of the figure's own; lines of another version are neither counted
nor removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.minutes import over_after
from profiles.errors import HwnasError

Result = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[2]
MEASURING = (
    *("profiles/clock.py", "profiles/statistics.py", "profiles/verdicts.py"),
    *("devices/measure.py", "devices/plan.py", "devices/duet.py", "devices/rounds.py", "devices/assemble.py"),
    *("devices/worker.py", "devices/passes.py", "devices/loading.py", "devices/blocks.py", "devices/disturbance.py"),
    *("devices/inputs.py", "devices/parity.py", "devices/engines/onnxruntime.py", "devices/engines/_ort_session.py"),
    "devices/calibration.onnx",
)


class Units:
    """``minutes``: start no new unit after that; ``None``: until all are there."""

    def __init__(self, path: Path, minutes: float | None, sources: Iterable[Path]) -> None:
        self._path = path
        self._over = over_after(minutes)
        self.version = _version(sources)
        self.results = [one for one in lines_of(path) if one["version"] == self.version]

    def of(self, kind: str) -> list[Result]:
        return [one for one in self.results if one["kind"] == kind]

    def do(self, kind: str, count: int, work: Callable[[int], Result]) -> None:
        """Those of units 0 to ``count`` - 1 that are missing. One that cannot be taken is kept with its error."""
        done = {one["number"] for one in self.of(kind)}
        for number in range(count):
            if number in done:
                continue
            if self._over():
                return
            start = time.monotonic()
            try:
                found = work(number)
            except HwnasError as error:
                found = {"error": str(error)}
            seconds = round(time.monotonic() - start, 3)
            self._append({"version": self.version, "kind": kind, "number": number, "seconds": seconds, **found})
            print(f"{kind} {number + 1} of {count}: {seconds:.1f} s", file=sys.stderr, flush=True)

    def _append(self, result: Result) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(result, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.results.append(result)


def lines_of(path: Path) -> list[Result]:
    """Of a file of JSON lines; [] where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _version(sources: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in [*(_ROOT / name for name in MEASURING), *sorted(sources)]:
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]
