"""What a device behind adb is, and how it is: from the files of its kernel, read by the code that reads them there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devices import fingerprint as reader
from devices import health as condition
from devices.protocol import Record
from devices.runner.link import VERSION, Link

_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/sys/kernel/osrelease",
    "/proc/device-tree/model",
    "/sys/class/dmi/id/product_name",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpufreq/boost",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/power_supply/*/status",
)
_MARK = "=== hwnas "
_READ = f"""for file in {" ".join(_FILES)}; do
[ -r "$file" ] && echo && echo "{_MARK}$file" && cat "$file" 2>/dev/null
done
[ -x /system/bin/getprop ] && echo && echo "{_MARK}/proc/device-tree/model" && getprop ro.product.model
echo"""


def fingerprint(link: Link, described: Record) -> Record:
    """``device`` and ``providers``, as the agent's answer has them. ``described``: the runner's."""
    versions = {"onnxruntime": described["runtime"], "runner": str(VERSION)}
    with _tree(link) as root:
        found = reader.fingerprint({}, root)
    known = {key: described[key] for key in ("machine", "kernel", "cores")}
    return {"device": {**found, **known, "versions": versions}, "providers": described["providers"]}


def health(link: Link, described: Record) -> dict[str, Any]:
    """As of ``devices.health``; ``None`` and nothing where that asks Python or starts programs."""
    with _tree(link) as root:
        found = condition.state(root)
    unknown: dict[str, Any] = {"python": None, "executable": None, "throttled": None, "busy": []}
    known = {key: described[key] for key in ("machine", "cores", "disk_free_mb", "clock_step_ns", "time_s")}
    return {**unknown, **known, **found, "packages": {"onnxruntime": described["runtime"]}, "user": "shell"}


@contextmanager
def _tree(link: Link) -> Iterator[Path]:
    """The device's files in a folder of this machine, under their own paths."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        root = Path(folder)
        for part in link.shell(_READ).split(f"\n{_MARK}")[1:]:
            name, _, text = part.partition("\n")
            path = root / name.strip().lstrip("/")
            if ".." not in path.parts:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        yield root
