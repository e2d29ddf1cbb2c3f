"""Which NVIDIA GPUs this machine has, asked of the kernel: no driver library is loaded, no GPU is woken."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def visible(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> list[str]:
    """What CUDA numbers 0, 1, ...: those of ``CUDA_VISIBLE_DEVICES`` where that is set, as it spells them.

    ``root``: the tree that holds ``dev``. A container may see /dev/nvidia2 and 3 alone, which CUDA numbers 0 and 1.
    Not covered: GPUs of WSL, which have no device file of their own.
    """
    count = sum(_DEVICE.fullmatch(path.name) is not None for path in (root / "dev").glob("nvidia*"))
    given = _given(environment)
    return [str(number) for number in range(count)] if given is None or not count else given


def first(nvml: Any, environment: Mapping[str, str] | None = None) -> Any:
    """NVML's handle of the GPU that CUDA numbers 0, on which all engines run. ``nvml``: pynvml, initialised.

    Where GPUs of several kinds are in one machine, CUDA may count otherwise than NVML, unless CUDA_DEVICE_ORDER is
    PCI_BUS_ID. Raises NVMLError.
    """
    name = next(iter(_given(environment) or ["0"]))
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)


def _given(environment: Mapping[str, str] | None) -> list[str] | None:
    found = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    return None if found is None else [name.strip() for name in found.split(",") if name.strip()]


_DEVICE = re.compile(r"nvidia(\d+)")
