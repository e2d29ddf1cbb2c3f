"""Which NVIDIA GPUs this machine has, asked of the kernel, and which of them is measured."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def visible(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> list[str]:
    """What CUDA numbers 0, 1, ...: those of ``CUDA_VISIBLE_DEVICES`` where that is set, as it spells them. No library
    of the driver is loaded for that, and no GPU is woken.

    ``root``: the tree that holds ``dev``. A container may see /dev/nvidia2 and 3 alone, which CUDA numbers 0 and 1.
    Not covered: GPUs of WSL, which have no device file of their own.
    """
    count = sum(_DEVICE.fullmatch(path.name) is not None for path in (root / "dev").glob("nvidia*"))
    given = _given(environment)
    if given is None or not count:
        return [str(number) for number in range(count)]
    return list(itertools.takewhile(lambda name: _exists(name, count), given))


def _exists(name: str, count: int) -> bool:
    """CUDA's list ends at the first name that means nothing: "-1", Slurm's "NoDevFiles", a number beyond the last."""
    return int(name) < count if name.isdecimal() else name.startswith(("GPU-", "MIG-"))


def first(nvml: Any, environment: Mapping[str, str] | None = None) -> Any:
    """NVML's handle of the GPU that CUDA numbers 0, on which all engines run. ``nvml``: pynvml, initialised.

    Where GPUs of several kinds are in one machine, CUDA counts the fastest first and NVML by their slots, unless
    CUDA_DEVICE_ORDER is PCI_BUS_ID: then CUDA is asked. Raises NVMLError.
    """
    if _of_several_kinds(nvml) and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and (slot := _slot_of_first()):
        return nvml.nvmlDeviceGetHandleByPciBusId(slot)
    name = next(iter(_given(environment) or ["0"]))
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)


def _of_several_kinds(nvml: Any) -> bool:
    names = set()
    for number in range(nvml.nvmlDeviceGetCount()):
        with contextlib.suppress(nvml.NVMLError):  # one that this process may not open, or that is lost
            names.add(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(number)))
    return len(names) > 1


def _slot_of_first() -> bytes | None:
    """The PCI address of what CUDA numbers 0 in this process; ``None`` where its driver does not say."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, slot = ctypes.c_int(), ctypes.create_string_buffer(32)
    said = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    return None if said or cuda.cuDeviceGetPCIBusId(slot, len(slot), device) else slot.value


def _given(environment: Mapping[str, str] | None) -> list[str] | None:
    found = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    return None if found is None else [name.strip() for name in found.split(",") if name.strip()]


_DEVICE = re.compile(r"nvidia(\d+)")
