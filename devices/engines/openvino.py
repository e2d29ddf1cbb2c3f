"""OpenVINO, by its own runtime.

    [targets.laptop-openvino]
    device = "laptop"
    engine = "openvino"
    provider = "cpu"          # cpu, gpu, npu: any device that this OpenVINO finds
    precision = "int8"        # fp32, int8; fp16 where the device computes in it
    threads = 4               # of a CPU

One inference at a time, tuned for latency. Without being told, OpenVINO computes in bfloat16 where the CPU has that;
here fp32 and int8 files compute what is not quantised in float32. `pip install openvino` on the device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import onnxfile
from devices.engines import one_line
from devices.inputs import Arrays, Input
from profiles.clock import now_ns
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

# On import OpenVINO reports to Intel's statistics, by a process of its own that would run on into the measurement.
# Without this package it does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: what cannot be imported

import openvino as ov  # noqa: E402

_DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "boolean": "bool", "i32": "int32", "i64": "int64"}
_DTYPES |= {"i8": "int8", "u8": "uint8", "i16": "int16", "u16": "uint16", "u32": "uint32", "u64": "uint64"}


def versions() -> dict[str, str]:
    return {"openvino": ov.__version__}


def providers() -> list[str]:
    return [device.lower() for device in ov.Core().available_devices]


def load(model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> _Request:
    if isinstance(model, Path):
        onnxfile.external_files(model)
    name = str(model) if isinstance(model, Path) else "model"
    core = ov.Core()
    device = _device(core, target.provider)
    try:
        network = core.read_model(model)
    except Exception as error:  # OpenVINO's errors share no base but this
        raise InputError(f"{name}: OpenVINO {ov.__version__} cannot load it: {one_line(error)}") from None
    wanted = "f16" if target.precision == "fp16" else "f32"
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": wanted}
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": target.threads}
    try:
        compiled = core.compile_model(network, device, settings)
    except Exception as error:
        raise MeasurementError(f"{name}: OpenVINO cannot compile it for {device}: {one_line(error)}") from None
    found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if found != wanted:
        raise MeasurementError(f"asked for {target.precision}; OpenVINO computes in {found} on this {device}")
    return _Request(compiled, target.provider)


class _Request:
    def __init__(self, compiled: Any, provider: str) -> None:
        self._compiled = compiled
        self._provider = provider
        self._request = compiled.create_infer_request()
        self._kept: Arrays = {}  # memory that the request reads from
        self.inputs: Sequence[Input] = [_input(port) for port in compiled.inputs]

    def bind(self, feeds: Arrays) -> int:
        self._kept = {tensor.name: np.ascontiguousarray(feeds[tensor.name]) for tensor in self.inputs}
        start = now_ns()
        try:
            for name, array in self._kept.items():
                self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            self.run()
        except Exception as error:
            raise MeasurementError(f"OpenVINO {ov.__version__} cannot run the model: {one_line(error)}") from None
        return now_ns() - start

    def run(self) -> None:
        self._request.infer()

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        return {
            port.any_name: np.array(self._request.get_output_tensor(number).data)
            for number, port in enumerate(self._compiled.outputs)
        }

    def placement(self) -> dict[str, str]:
        """One device compiles all of a model or refuses it."""
        return {node.get_friendly_name(): self._provider for node in self._compiled.get_runtime_model().get_ops()}


def _device(core: Any, provider: str) -> str:
    """'gpu' -> 'GPU', among those that OpenVINO finds on this machine."""
    available = [str(device) for device in core.available_devices]
    for device in available:
        if device.partition(".")[0].lower() == provider:
            return device
    names = ", ".join(device.lower() for device in available)
    raise UnavailableError(
        f"provider {provider}: OpenVINO {ov.__version__} finds no such device here; it finds: {names}"
    )


def _input(port: Any) -> Input:
    shape, kind = port.partial_shape, port.element_type.get_type_name()
    dims = tuple(dim.get_length() if dim.is_static else f"dim{place}" for place, dim in enumerate(shape))
    return Input(name=port.any_name, dtype=_DTYPES.get(kind, kind), dims=dims)
