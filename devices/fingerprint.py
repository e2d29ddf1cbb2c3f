"""What a device is, as far as its speed depends on it. A changed fingerprint starts a new series of measurements.

Left out on purpose: host name, addresses and serial numbers (two equal boards have equal fingerprints), and anything
that changes by itself (load, temperature, frequency).
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np


def fingerprint(versions: dict[str, str], root: Path = Path("/")) -> dict[str, Any]:
    """JSON-ready. ``versions``: those of the engine's packages. ``root``: the tree that holds ``proc`` and ``sys``."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_model(root),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(root),
        "board": _text(root / "proc/device-tree/model") or _text(root / "sys/class/dmi/id/product_name"),
        "kernel": _text(root / "proc/sys/kernel/osrelease") or platform.release(),
        "governor": _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        **_nvidia(root / "proc/driver/nvidia"),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, **versions},
    }


def cpu_model(root: Path = Path("/")) -> str | None:
    """x86 gives a name; Arm gives implementer and part of each kind of core; ``None`` where the kernel says neither."""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return None
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    for key, value in pairs:
        if key in ("model name", "Model") and value:
            return value
    makers = [value for key, value in pairs if key == "CPU implementer"]
    parts = [value for key, value in pairs if key == "CPU part"]
    kinds = sorted({f"{maker}/{part}" for maker, part in zip(makers, parts, strict=False)})
    return "Arm " + ", ".join(kinds) if kinds else None


def _nvidia(driver: Path) -> dict[str, str]:
    """The GPUs and their driver, as the kernel module tells them; nothing where there is none."""
    lines = [line for path in sorted(driver.glob("gpus/*/information")) for line in (_text(path) or "").splitlines()]
    models = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key == "Model"]
    version = re.search(r"\d+\.\d+(\.\d+)*", _text(driver / "version") or "")
    return ({"gpu": ", ".join(models)} if models else {}) | ({"gpu_driver": version[0]} if version else {})


def _memory_gb(root: Path) -> int | None:
    """Rounded, since the kernel's own share differs from boot to boot."""
    line = (_text(root / "proc/meminfo") or "").partition("\n")[0].split()
    return round(int(line[1]) / 1e6) if len(line) == 3 and line[1].isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None
