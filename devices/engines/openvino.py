"""OpenVINO, by its own runtime.

    [targets.laptop-openvino]
    device = "laptop"
    engine = "openvino"
    provider = "cpu"          # cpu, gpu, npu: any device that this OpenVINO finds
    precision = "int8"        # fp32, int8; fp16 where the device computes in it
    threads = 4               # of a CPU

One inference at a time, tuned for latency. A model is compiled for the shapes that are measured, as soon as those are
known, since one with an open batch is slower; ``build_ms`` is the time of that, a part of ``load_ms``. Without being
told, OpenVINO computes in bfloat16 where the CPU has that; here fp32 and int8 files compute what is not quantised in
float32. `pip install openvino` on the device.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
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

PRIMED = ("cpu",)
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
    if not (target.transfers or device == "CPU"):
        raise InputError(f"transfers: given false for OpenVINO on {target.provider}; accepted: true")
    try:
        network = core.read_model(model)
    except Exception as error:  # OpenVINO's errors share no base but this
        raise InputError(f"{name}: OpenVINO {ov.__version__} cannot load it: {one_line(error)}") from None
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _kind(target)}
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": target.threads}
    return _Request(name, network, target, functools.partial(core.compile_model, device_name=device, config=settings))


class _Request:
    """``network``: as it was read. ``build``: compiles it."""

    def __init__(self, name: str, network: Any, target: Target, build: Callable[[Any], Any]) -> None:
        self._name, self._network, self._target, self._build = name, network, target, build
        self._shapes: dict[str, list[int]] = {}  # that it is compiled for
        self._compiled: Any = None
        self._request: Any = None
        self._kept: Arrays = {}  # memory that the request reads from
        self.build_ns: int | None = None
        self.inputs: Sequence[Input] = [_input(port) for port in network.inputs]

    def bind(self, feeds: Arrays) -> int:
        self._kept = {tensor.name: np.require(feeds[tensor.name], requirements="C") for tensor in self.inputs}
        self._compile({name: list(array.shape) for name, array in self._kept.items()})
        start = now_ns()
        try:
            for name, array in self._kept.items():
                self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            self.run()
        except Exception as error:
            raise MeasurementError(f"OpenVINO {ov.__version__} cannot run the model: {one_line(error)}") from None
        return now_ns() - start

    def _compile(self, shapes: dict[str, list[int]]) -> None:
        if self._compiled is not None and shapes == self._shapes:
            return
        start = now_ns()
        try:
            self._network.reshape(shapes)
            self._compiled = self._build(self._network)
        except Exception as error:
            on = self._target.provider.upper()
            raise MeasurementError(f"{self._name}: OpenVINO cannot compile it for {on}: {one_line(error)}") from None
        self.build_ns = now_ns() - start
        wanted, found = _kind(self._target), self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != wanted:
            text = f"asked for {self._target.precision}; OpenVINO computes in {found} on this {self._target.provider}"
            raise MeasurementError(text)
        self._request = self._compiled.create_infer_request()
        self._shapes = shapes

    def run(self) -> None:
        self._request.infer()

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        return {
            port.any_name: np.array(self._request.get_output_tensor(number).data)
            for number, port in enumerate(self._compiled.outputs)
        }

    def placement(self) -> dict[str, str]:
        """One device compiles all of a model or refuses it."""
        return {
            node.get_friendly_name(): self._target.provider for node in self._compiled.get_runtime_model().get_ops()
        }


def _kind(target: Target) -> str:
    """OpenVINO's name of the precision to compute in."""
    return "f16" if target.precision == "fp16" else "f32"


def _device(core: Any, provider: str) -> str:
    """'gpu' -> 'GPU', among those that OpenVINO finds on this machine."""
    available = [str(device) for device in core.available_devices]
    for device in available:
        if provider in (device.lower(), device.partition(".")[0].lower()):
            return device
    names = ", ".join(device.lower() for device in available)
    raise UnavailableError(
        f"provider {provider}: OpenVINO {ov.__version__} finds no such device here; it finds: {names}"
    )


def _input(port: Any) -> Input:
    shape, kind = port.partial_shape, port.element_type.get_type_name()
    dims = tuple(dim.get_length() if dim.is_static else f"dim{place}" for place, dim in enumerate(shape))
    return Input(name=port.any_name, dtype=_DTYPES.get(kind, kind), dims=dims)
