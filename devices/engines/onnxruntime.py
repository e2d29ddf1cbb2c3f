"""ONNX Runtime, with one execution provider.

    [targets.pi5]
    device = "pi5"
    engine = "onnxruntime"
    provider = "cpu"          # cpu, cuda, tensorrt, openvino, xnnpack, ...: any that this onnxruntime was built with
    threads = 4               # intra_op; inter_op is always 1

Inputs and outputs are bound buffers in host memory, so that a call costs a few us of Python and no allocation; on a GPU
provider the time includes both transfers, unless the target says ``transfers = false`` (cuda and tensorrt). All graph
optimisations are on, as in deployment.

With more than one thread all sessions of the process share one thread pool. ONNX Runtime's threads spin for a while
after each run, as they do in deployment, and that is left on: without it a small model waits for sleeping threads. With
a pool for each session, the threads of one model would still spin while the other model's block is timed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from devices import onnxfile
from devices.engines import PROGRAM, one_line
from devices.inputs import Arrays, Input
from profiles.clock import now_ns
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


# provider -> the wheel that has it; XNNPACK, CoreML and others come with builds of one's own or of their platform
_WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
    "qnn": "onnxruntime-qnn",
}
_CUDA = ("cuda", "tensorrt")  # providers whose tensors can lie in CUDA memory
_LIBRARIES = {  # provider -> how what it loads comes to where no libraries of the system are
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": "pip install tensorrt, of the major version that this onnxruntime was built with",
}
_BAD_MODELS = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile", "NotImplemented")
# Its Linux wheel keeps usage data in ~/.cache/Microsoft unless told otherwise, at its import.
if hasattr(ort, "disable_telemetry_events"):
    ort.disable_telemetry_events()

_Folder = tempfile.TemporaryDirectory[str]


def versions() -> dict[str, str]:
    return {"onnxruntime": ort.__version__}


def providers() -> list[str]:
    return [_short(name) for name in ort.get_available_providers()]


def load(model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> _Session:
    if isinstance(model, Path):
        onnxfile.external_files(model)
    name = str(model) if isinstance(model, Path) else "model"
    if name.endswith(PROGRAM):
        raise InputError(f"{name}: given an exported program of torch; accepted by ONNX Runtime: an ONNX file")
    wanted = _provider(target.provider)
    _load_libraries(target.provider)
    options = _options(target.threads, plain)
    folder = _Folder(prefix="hwnas-trace-") if trace else None
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder.name) / "trace")
    providers = [(wanted, _settings(target))]
    providers += [] if wanted == "CPUExecutionProvider" else [("CPUExecutionProvider", {})]
    try:
        session = ort.InferenceSession(name if isinstance(model, Path) else model, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base but this
        bad = target.provider == "cpu" or type(error).__name__ in _BAD_MODELS
        text = f"{name}: ONNX Runtime {ort.__version__} cannot load it: {one_line(error)}"
        raise (InputError if bad else MeasurementError)(text) from None
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        instead = _short(session.get_providers()[0])
        cure = _LIBRARIES.get(target.provider)
        missing = f": its libraries cannot be loaded; {cure}" if cure else ""
        raise MeasurementError(
            f"asked for the provider {target.provider}; ONNX Runtime would run on {instead}{missing}"
        )
    bare = target.provider in _CUDA and not target.transfers
    return _Session(session, "cuda" if bare else "cpu", folder)


class _Session:
    """``place``: whose memory inputs and outputs are bound in; "cuda" leaves the transfers out of a run."""

    def __init__(self, session: ort.InferenceSession, place: str, folder: _Folder | None) -> None:
        self._session = session
        self._place = place
        self._folder = folder
        self._binding = session.io_binding()
        self._kept: Arrays = {}  # memory that the binding points into
        self._results: Arrays = {}
        self.inputs: Sequence[Input] = [_input(node) for node in session.get_inputs()]

    def bind(self, feeds: Arrays) -> int:
        binding = self._binding
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        self._kept = {tensor.name: np.ascontiguousarray(feeds[tensor.name]) for tensor in self.inputs}
        for name, array in self._kept.items():
            if self._place == "cpu":
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            else:
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, self._place, 0))
        outputs = [node.name for node in self._session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, self._place)
        start = now_ns()
        try:
            self.run()
            first_run_ns = now_ns() - start
            found = binding.copy_outputs_to_cpu()
        except Exception as error:
            raise MeasurementError(f"ONNX Runtime {ort.__version__} cannot run the model: {one_line(error)}") from None
        if self._place != "cpu":
            return first_run_ns  # the outputs stay where they are
        # From here on into buffers of ours. Their shapes are those of the first run: the inputs stay the same.
        self._results = {name: array.copy() for name, array in zip(outputs, found, strict=True)}
        binding.clear_binding_outputs()
        for name, array in self._results.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return first_run_ns

    def run(self) -> None:
        # A method, so that whoever keeps `run` keeps this object and with it the memory that the binding points into.
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        if self._place != "cpu":
            names = [node.name for node in self._session.get_outputs()]
            return dict(zip(names, self._binding.copy_outputs_to_cpu(), strict=True))
        return {name: array.copy() for name, array in self._results.items()}

    def placement(self) -> dict[str, str]:
        return placement_of(self._trace())

    def operators(self) -> list[tuple[str, str, str, float]]:
        """As ``operators_of``. Only for a model loaded with ``trace``, once, after some runs; instead of
        ``placement``. Profiling is on in that session, so the sum is longer than a latency.
        """
        return operators_of(self._trace())

    def _trace(self) -> list[dict[str, Any]]:
        if self._folder is None:
            raise RuntimeError("the trace of a model that was loaded without trace=True")
        events: list[dict[str, Any]] = json.loads(Path(self._session.end_profiling()).read_text())
        self._folder.cleanup()
        return events


def placement_of(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Node -> provider that ran it, from the events of ONNX Runtime's trace."""
    ran = [event for event in events if event.get("args", {}).get("provider")]
    found = {event["name"]: event["args"]["provider"] for event in ran}
    return {name.removesuffix("_kernel_time"): _short(provider) for name, provider in found.items()}


def operators_of(events: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, float]]:
    """(node, operator, provider, median time in ns) of each node of the optimised graph, in the order they run."""
    found: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        arguments = event.get("args", {})
        if event["name"].endswith("_kernel_time") and arguments.get("provider"):
            name = event["name"].removesuffix("_kernel_time")
            found.setdefault(name, []).append(event["dur"] * 1e3)
            kinds[name] = (arguments.get("op_name", ""), _short(arguments["provider"]))
    # The first run is slower, and its time is another figure.
    return [(name, *kinds[name], float(np.median(times[1:] or times))) for name, times in found.items()]


def _load_libraries(provider: str) -> None:
    """Those of pip packages, which the system's loader does not find by itself."""
    if provider in _CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if provider == "tensorrt":
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt")


def _settings(target: Target) -> dict[str, str]:
    """Of the provider."""
    if target.provider == "xnnpack":  # which has a thread pool of its own
        return {"intra_op_num_threads": str(target.threads)}
    if target.provider == "openvino":  # likewise, of as many threads as there are cores unless told
        return {"num_of_threads": str(target.threads)}
    if target.provider != "tensorrt":
        return {}
    # Engines are built anew for each session, whatever an earlier one left: load_ms holds the build. TensorRT up to 10
    # takes no fp16 and no int8 graph unless told so.
    narrow = {"fp16": {"trt_fp16_enable": "1"}, "int8": {"trt_int8_enable": "1"}}.get(target.precision, {})
    return {"trt_engine_cache_enable": "0", "trt_timing_cache_enable": "0", **narrow}


def _options(threads: int, plain: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    # On x86 without VNNI, sums of 8-bit products saturate silently; this asks for kernels that do not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if _in_shared_pool(threads):
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return options


_pool_threads = 0  # of the pool that all sessions of this process share; 0: there is none


def _in_shared_pool(threads: int) -> bool:
    """Whether a session is to use the shared pool, which is made by the first that wants more than one thread.

    Once there is one, ONNX Runtime takes no session with a pool of its own, nor another size.
    """
    global _pool_threads
    if not _pool_threads and threads > 1 and hasattr(ort, "set_global_thread_pool_sizes"):
        ort.set_global_thread_pool_sizes(threads, 1)
        _pool_threads = threads
    return _pool_threads > 0


def _provider(name: str) -> str:
    """'cpu' -> 'CPUExecutionProvider', among those that this onnxruntime has."""
    available = ort.get_available_providers()
    for provider in available:
        if _short(provider) == name:
            return str(provider)
    names = ", ".join(_short(provider) for provider in available)
    package = _WHEELS.get(name)
    cure = f"; pip install {package} in place of onnxruntime" if package else ""
    raise UnavailableError(f"provider {name} is not in this onnxruntime {ort.__version__}; it has: {names}{cure}")


def _short(provider: str) -> str:
    short = provider.removesuffix("ExecutionProvider").lower()
    return {"dml": "directml"}.get(short, short)


def _input(node: Any) -> Input:
    dims = tuple(dim if isinstance(dim, int) and dim > 0 else str(dim or "?") for dim in node.shape)
    return Input(name=node.name, dtype=_DTYPES.get(node.type, node.type), dims=dims)
