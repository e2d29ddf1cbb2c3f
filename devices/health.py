"""The state a device is in, as far as a measurement depends on it: what changes by itself, unlike the fingerprint.

Needs no numpy, so that a device without it can say so. Every file is read below ``root``; what a kernel does not tell
is ``None``, and no program is started but ``vcgencmd`` where a Raspberry Pi has it.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from devices import depot
from devices.protocol import Record

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "openvino")
_CPU = "sys/devices/system/cpu"


def describe(request: Record) -> Record:
    return {"health": health()}


def health(root: Path = Path("/")) -> Record:
    """JSON-ready; units in the names."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "user": os.environ.get("USER") or str(os.getuid()),
        "disk_free_mb": _disk_free_mb(depot.folder()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "throttled": _throttled(),
        "busy": _busy(root),
        "clock_step_ns": _clock_step_ns(),
        "time_s": time.time(),
        **state(root),
    }


def state(root: Path) -> Record:
    """What stands in files of the kernel."""
    return {
        "memory_free_mb": _memory_free_mb(root),
        "governors": sorted({_text(path) for path in (root / _CPU).glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}),
        "turbo": _turbo(root),
        "temperature_c": _temperature_c(root),
        "pressure": _pressure(root),
        "on_battery": _on_battery(root),
        "virtual": "hypervisor" in _text(root / "proc/cpuinfo").split() or (root / "sys/hypervisor/type").exists(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _disk_free_mb(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e6


def _memory_free_mb(root: Path) -> float | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _turbo(root: Path) -> bool | None:
    """Whether the clock may rise above its nominal rate."""
    if no_turbo := _text(root / _CPU / "intel_pstate/no_turbo"):
        return no_turbo == "0"
    boost = _text(root / _CPU / "cpufreq/boost")
    return boost == "1" if boost else None


def _throttled() -> int | None:
    """The bits of ``vcgencmd get_throttled``: 0-3 now, 16-19 since boot; under-voltage, capped, throttled, hot."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
        return int(done.stdout.partition("=")[2], 0)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _temperature_c(root: Path) -> float | None:
    found = [_text(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(text) / 1000 for text in found if text.lstrip("-").isdigit()]
    return max(values, default=None)


def _pressure(root: Path) -> float | None:
    """Percent of the last 10 s in which something waited for a CPU."""
    for word in _text(root / "proc/pressure/cpu").split("\n")[0].split():
        if word.startswith("avg10="):
            return float(word[6:])
    return None


def _busy(root: Path, seconds: float = 0.5) -> list[Record]:
    """Processes that used more than a tenth of a core over ``seconds``, ours apart: name, pid and percent."""
    before, start = _times(root), time.monotonic()
    time.sleep(seconds)
    after, elapsed = _times(root), time.monotonic() - start
    tick = os.sysconf("SC_CLK_TCK")
    found = []
    for pid, (name, ticks) in after.items():
        used = (ticks - before.get(pid, (name, ticks))[1]) / tick / elapsed * 100
        if used > 10 and pid != os.getpid():
            found.append({"name": name, "pid": pid, "percent": round(used)})
    return sorted(found, key=lambda one: -one["percent"])


def _times(root: Path) -> dict[int, tuple[str, int]]:
    """pid -> name and CPU time in ticks, user and system."""
    found = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        head, _, rest = _text(path).rpartition(") ")
        fields = rest.split()
        if len(fields) > 12:
            found[int(path.parent.name)] = (head.partition("(")[2], int(fields[11]) + int(fields[12]))
    return found


def _on_battery(root: Path) -> bool | None:
    supplies = (root / "sys/class/power_supply").glob("*/status")
    # A scope says whose it is: a mouse's or a headset's battery tells nothing of the machine.
    states = [_text(path) for path in supplies if _text(path.with_name("scope")) != "Device"]
    return "Discharging" in states if states else None


def _clock_step_ns() -> int:
    """The smallest step that the clock of all measurements was seen to make."""
    times = [time.perf_counter_ns() for _ in range(10_000)]
    return min(later - earlier for earlier, later in itertools.pairwise(times) if later > earlier)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
