"""NVIDIA's own counter of a GPU (NVML).

    meter = "nvml"
    meter = {name = "nvml", gpu = 1}      # NVML's number, that of nvidia-smi; default: the GPU that is measured

The energy counter (Volta on), whose steps are watched (on an H200 0.1 s apart); where it does not step, the power
of the moment (the INSTANT field); else the power that drivers report by default, since Ampere an average over 1 s, so
that windows become long. ``period_s``: how long the value read stands. On Jetson NVML starts and supports none of them:
take ``jetson``. Needs nvidia-ml-py on the device. Covers the GPU's board, not the host. The sensor below samples a
quarter of the time on A100 and H100 (arXiv 2312.02741): the spread over windows shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devices import gpus
from devices.meters import Sensor
from devices.meters._sysfs import powers
from profiles.clock import now_ns
from profiles.errors import MeasurementError, UnavailableError

_PERIOD_S = 0.1  # of power
_AVERAGE_S = 1.0  # of PowerUsage since Ampere
_WATCHED_S, _ENOUGH, _LEAST = 3.0, 12, 4  # at the start, to learn the counter's pace: for how long, how many steps
_LATE, _LEAST_S = 5, 0.02  # a step is seen within that part of the pace; one reading takes up to 4 ms
_AMPERE = 8  # compute capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    gpu: int | None = None
    period_s: float | None = None

    def open(self) -> Sensor:
        try:
            import pynvml as nvml
        except ModuleNotFoundError:
            raise UnavailableError("meter nvml needs the package nvidia-ml-py: pip install nvidia-ml-py") from None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise UnavailableError(f"meter nvml: no NVIDIA driver answers: {error}") from None
        try:
            return self._sensor(nvml)
        except nvml.NVMLError as error:
            nvml.nvmlShutdown()
            raise UnavailableError(f"{self._name}: {error}") from None
        except UnavailableError:
            nvml.nvmlShutdown()
            raise

    @property
    def _name(self) -> str:
        return "meter nvml: " + ("the GPU that is measured" if self.gpu is None else f"GPU {self.gpu}")

    def _sensor(self, nvml: Any) -> Sensor:
        handle = gpus.first(nvml) if self.gpu is None else nvml.nvmlDeviceGetHandleByIndex(self.gpu)
        name = nvml.nvmlDeviceGetName(handle)
        label = f"nvml: GPU {nvml.nvmlDeviceGetIndex(handle)} {name.decode() if isinstance(name, bytes) else name}"

        def energy_j() -> float:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

        def instant_w() -> float:
            (field,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_POWER_INSTANT])
            if field.nvmlReturn != nvml.NVML_SUCCESS:
                raise nvml.NVMLError(field.nvmlReturn)
            return float(field.value.uiVal) / 1e3

        def usage_w() -> float:
            return float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1e3

        def guarded(read: Callable[[], float]) -> Callable[[], float]:
            def value() -> float:
                try:
                    return read()
                except nvml.NVMLError as error:
                    raise MeasurementError(f"{self._name}: {error}") from None

            return value

        if _supported(nvml, energy_j):
            read_j = guarded(energy_j)
            pace_s = self.period_s or _pace_s(read_j)
            if pace_s:
                return Sensor(
                    label=label,
                    quantity="energy_j",
                    period_s=max(pace_s / _LATE, _LEAST_S),
                    pace_s=pace_s,
                    read=lambda: [(now_ns() / 1e9, read_j())],
                    close=nvml.nvmlShutdown,
                )
        for read, averaged in ((instant_w, False), (usage_w, True)):
            if _supported(nvml, read):
                slow = averaged and nvml.nvmlDeviceGetCudaComputeCapability(handle)[0] >= _AMPERE
                period_s = self.period_s or _PERIOD_S
                return Sensor(
                    label=label,
                    quantity="power_w",
                    period_s=max(period_s, _AVERAGE_S) if slow else period_s,
                    read=powers(guarded(read)),
                    close=nvml.nvmlShutdown,
                )
        raise UnavailableError(f"{self._name} reports neither energy nor power; on a Jetson take the meter jetson")


def _pace_s(read: Callable[[], float]) -> float:
    """Between the steps of the counter at worst, while it is watched; 0 where it hardly steps."""
    begun = seen_s = now_ns() / 1e9
    last = read()
    steps: list[float] = []
    while seen_s < begun + _WATCHED_S and len(steps) < _ENOUGH:
        value, seen_s = read(), now_ns() / 1e9
        if value != last:
            steps.append(seen_s)
            last = value
    lengths = [after - before for before, after in itertools.pairwise(steps)]
    return max(lengths) if len(steps) >= _LEAST else 0.0


def _supported(nvml: Any, read: Callable[[], float]) -> bool:
    """Only a read tells: on Jetson everything up to it succeeds."""
    try:
        read()
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_InvalidArgument):
        return False
    return True
