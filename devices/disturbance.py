"""Did something else use the machine, or slow it, while a block ran? Read before and after each block, never within.

Sources, all of Linux; one that is absent counts as quiet:
    /proc/pressure/cpu          time in which some task waited for a CPU ("total", in us). Older kernels bring it up to
                                date every 2 s only: then the mark lands on a later block.
    /proc/stat                  steal: time the hypervisor gave to others, in ticks
    /proc/thread-self/schedstat time this thread itself was ready and waited, in ns
    getrusage                   involuntary context switches of this process
    /sys/.../cpufreq            frequency of the fastest core, in kHz
    /sys/class/thermal          the hottest zone, in 0.001 degrees C
    /sys/.../thermal_throttle   how often x86 cores throttled
    /sys/.../get_throttled      Raspberry Pi: bits 0 to 3 of the firmware, under-voltage and throttling now
Not seen: neighbours that share caches, memory or the power budget but no CPU.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from profiles.clock import now_ns

# Shares of a block's time from which on it counts as disturbed.
MAX_PRESSURE = 0.15
MAX_STEAL = 0.05
MAX_WAITED = 0.03
MAX_SWITCHES_PER_S = 200.0
# A frequency that falls by more than this share within a block.
MAX_SLOWED = 0.10

_CPUS = "sys/devices/system/cpu"
_FIRMWARE = "sys/devices/platform/soc*/*firmware/get_throttled"  # soc/soc:firmware; of a Pi 5 soc@107c000000/...
_THROTTLED_NOW = 0b1111


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters and states at one moment. ``None``: this machine does not say."""

    time_ns: int
    pressure_us: int | None
    steal_ticks: int | None
    waited_ns: int | None
    switches: int | None
    frequency_khz: int | None = None
    temperature_mc: int | None = None
    throttle_count: int | None = None
    throttle_bits: int | None = None


class Sources:
    """The files of one machine, found once, since looking for them takes longer than reading them.

    ``root``: the tree that holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._frequencies = sorted(root.glob(f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._temperatures = sorted(root.glob("sys/class/thermal/thermal_zone*/temp"))
        self._firmware = sorted(root.glob(_FIRMWARE))[:1]
        self._throttles = sorted(root.glob(f"{_CPUS}/cpu[0-9]*/thermal_throttle/*_throttle_count"))

    def read(self) -> Reading:
        throttles = [count for path in self._throttles if (count := _field(path, 0)) is not None]
        return Reading(
            time_ns=now_ns(),
            pressure_us=_pressure(self._root / "proc/pressure/cpu"),
            steal_ticks=_field(self._root / "proc/stat", 8),
            waited_ns=_field(self._root / "proc/thread-self/schedstat", 1),
            switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            frequency_khz=_largest(self._frequencies),
            temperature_mc=_largest(self._temperatures),
            throttle_count=sum(throttles) if throttles else None,
            throttle_bits=_field(self._firmware[0], 0, base=16) if self._firmware else None,
        )


def reasons(before: Reading, after: Reading, *, busy: bool = True) -> list[str]:
    """Why the time between two readings counts as disturbed; or nothing.

    Some of: pressure, steal, waited, switched, throttled, slowed. The last only where this process was ``busy`` all the
    time: else the governor lowers the frequency of a quiet machine by itself.
    """
    seconds = (after.time_ns - before.time_ns) / 1e9
    if seconds <= 0:
        return []
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    bits = (before.throttle_bits or 0) | (after.throttle_bits or 0)
    found = {
        "pressure": _rise(before.pressure_us, after.pressure_us) * 1e-6 / seconds > MAX_PRESSURE,
        "steal": _rise(before.steal_ticks, after.steal_ticks) * tick_s / seconds > MAX_STEAL,
        "waited": _rise(before.waited_ns, after.waited_ns) * 1e-9 / seconds > MAX_WAITED,
        # One switch alone is nothing, however short the block.
        "switched": _rise(before.switches, after.switches) > max(1.0, MAX_SWITCHES_PER_S * seconds),
        "throttled": _rise(before.throttle_count, after.throttle_count) > 0 or bits & _THROTTLED_NOW != 0,
        "slowed": busy and -_rise(before.frequency_khz, after.frequency_khz) > MAX_SLOWED * (before.frequency_khz or 0),
    }
    return [name for name, disturbed in found.items() if disturbed]


def _rise(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else after - before


def _pressure(path: Path) -> int | None:
    """'some avg10=0.00 avg60=0.00 avg300=0.00 total=123' -> 123"""
    try:
        return int(path.read_text().splitlines()[0].rpartition("total=")[2])
    except (OSError, ValueError, IndexError):
        return None


def _field(path: Path, position: int, base: int = 10) -> int | None:
    """One blank-separated field of a file's first line."""
    try:
        with path.open() as file:
            return int(file.readline().split()[position], base)
    except (OSError, ValueError, IndexError):
        return None


def _largest(paths: list[Path]) -> int | None:
    return max((value for path in paths if (value := _field(path, 0)) is not None), default=None)
