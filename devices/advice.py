"""What keeps a device from a good measurement, and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLOCK_STEP_NS = 1000
DISK_MB = 200.0
MEMORY_MB = 200.0
NOISE = 0.02
PRESSURE = 10.0
SKEW_S = 5.0
_NO_TURBO = (
    "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost, "
    "with Intel's driver: echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
)
_BITS = {0: "under-voltage", 1: "the clock is capped", 2: "throttled", 3: "at its soft temperature limit"}


def problems(
    health: Mapping[str, Any], *, noise: float | None = None, skew_s: float = 0.0, works: bool = False
) -> list[tuple[str, str]]:
    """(what, how to mend it) for each, the worst first. ``health``: as of ``devices.health``.

    ``noise``: the run-to-run spread of the calibration model, a fraction. ``skew_s``: its clock minus ours.
    ``works``: its targets were tried out, so that no package is missing, wherever they find it. What the device does
    not tell is taken for good.
    """
    found: list[tuple[str, str]] = []
    packages, python = health["packages"], health["executable"]
    if python and not works and "numpy" not in packages:
        found.append(("no numpy", f"{python} -m pip install numpy"))
    if not works and not any(name in packages for name in ("onnxruntime", "onnxruntime-gpu")):
        found.append(("no onnxruntime", f"{python} -m pip install onnxruntime"))
    bits = health["throttled"] or 0
    now = [text for bit, text in _BITS.items() if bits >> bit & 1]
    before = [text for bit, text in _BITS.items() if bits >> (bit + 16) & 1 and text not in now]
    if now:
        found.append((f"now: {', '.join(now)}", "a better power supply, or more cooling"))
    if before:
        found.append(
            (f"since it started: {', '.join(before)}", "a better power supply, or more cooling; then restart it")
        )
    if others := [governor for governor in health["governors"] if governor != "performance"]:
        setting = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        found.append((f"the clock follows the load ({', '.join(others)})", f"echo performance | sudo tee {setting}"))
    if health["turbo"]:
        found.append(("turbo: the clock depends on temperature", _NO_TURBO))
    if health["on_battery"]:
        found.append(("it runs on battery", "plug it in"))
    for process in health["busy"][:3]:
        what = f"{process['name']} uses {process['percent']} % of a core"
        found.append((what, f"stop it (process {process['pid']})"))
    if (health["pressure"] or 0.0) > PRESSURE and not health["busy"]:
        found.append((f"tasks waited for a CPU {health['pressure']:.0f} % of the time", "see what runs there: top"))
    if health["disk_free_mb"] < DISK_MB:
        found.append((f"{health['disk_free_mb']:.0f} MB of disk left", "rm -r ~/.cache/hwnas/files, or more room"))
    if health["memory_free_mb"] is not None and health["memory_free_mb"] < MEMORY_MB:
        found.append((f"{health['memory_free_mb']:.0f} MB of memory left", "stop what uses it"))
    if health["virtual"]:
        found.append(("it is a virtual machine: its neighbours cannot be seen", "measure where there are none"))
    if health["clock_step_ns"] > CLOCK_STEP_NS:
        found.append((f"its clock makes steps of {health['clock_step_ns']} ns", "see /sys/devices/system/clocksource"))
    if abs(skew_s) > SKEW_S:
        found.append((f"its date is {skew_s:+.0f} s off", "sudo timedatectl set-ntp true"))
    if noise is not None and noise > NOISE:
        found.append(
            (f"the same model varies by {noise:.1%} from run to run", "mend the above, or find who else uses it")
        )
    return found
