"""ONNX Runtime, with one execution provider.

    [targets.pi5]
    device = "pi5"
    engine = "onnxruntime"
    provider = "cpu"          # cpu, cuda, tensorrt, openvino, xnnpack, ...: any that this onnxruntime was built with;
                              # cuda-graph: cuda, captured once as a CUDA graph and replayed
    threads = 4               # intra_op; inter_op is always 1

Inputs and outputs are bound buffers in host memory, so that a call costs a few us of Python and no allocation; on a GPU
provider the time includes both transfers, unless the target says ``transfers = false`` (cuda, cuda-graph, tensorrt).
All graph optimisations are on, as in deployment.

With more than one thread all sessions of the process share one thread pool. ONNX Runtime's threads spin for a while
after each run, as they do in deployment, and that is left on: without it a small model waits for sleeping threads. With
a pool for each session, the threads of one model would still spin while the other model's block is timed.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from pathlib import Path

import onnxruntime as ort

from devices import gpus, onnxfile
from devices.engines import PROGRAM, one_line
from devices.engines._cuda_events import Stream
from devices.engines._ort_graph import Captured
from devices.engines._ort_session import Session
from devices.engines._ort_trace import short
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

# provider -> the wheel that has it; XNNPACK, CoreML and others come with builds of one's own or of their platform
_WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
    "qnn": "onnxruntime-qnn",
}
PRIMED = ("cpu", "xnnpack", "openvino", "dnnl", "acl")  # they compute on the CPU: nothing is transferred
GRAPH = "cuda-graph"
_CUDA = ("cuda", GRAPH, "tensorrt")  # providers whose tensors can lie in CUDA memory
_LIBRARIES = {  # provider -> how what it loads comes to where no libraries of the system are
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": "pip install tensorrt, of the major version that this onnxruntime was built with",
}
_BAD_MODELS = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile", "NotImplemented")
# Its Linux wheel keeps usage data in ~/.cache/Microsoft unless told otherwise, at its import.
if hasattr(ort, "disable_telemetry_events"):
    ort.disable_telemetry_events()


def versions() -> dict[str, str]:
    return {"onnxruntime": ort.__version__}


def providers() -> list[str]:
    found = [short(name) for name in ort.get_available_providers()]
    return [*found, GRAPH] if "cuda" in found else found


def load(model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> Session | Captured:
    if isinstance(model, Path):
        onnxfile.external_files(model)
        if model.suffix == PROGRAM:
            raise InputError(f"{model}: given an exported program of torch; accepted by ONNX Runtime: an ONNX file")
    if not (target.transfers or plain or target.provider in (*_CUDA, *PRIMED)):
        accepted = f"true, or one of the providers {', '.join(_CUDA)}"
        raise InputError(f"transfers: given false for the provider {target.provider}; accepted: {accepted}")
    if target.provider != GRAPH or plain:
        return _session(model, target, plain=plain, trace=trace)
    stream = _stream()
    replayed = _opened(model, target, _options(target.threads), stream, {"enable_cuda_graph": "1"})
    return Captured(replayed, stream, target.transfers, _session(model, target, trace=True) if trace else None)


def _session(model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> Session:
    options = _options(target.threads, plain)
    folder = tempfile.TemporaryDirectory(prefix="hwnas-trace-") if trace else None
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder.name) / "trace")
    bare = target.provider in _CUDA and not target.transfers
    stream = _stream() if bare and not plain else None
    session = _opened(model, target, options, stream, {})
    return Session(session, "cuda" if bare else "cpu", asked=target.provider, folder=folder, stream=stream)


def _opened(
    model: Path | bytes, target: Target, options: ort.SessionOptions, stream: Stream | None, settings: dict[str, str]
) -> ort.InferenceSession:
    """``stream``: what the provider is to run on; ``settings`` of it, beside those of the target."""
    name = str(model) if isinstance(model, Path) else "model"
    wanted = _provider(target.provider)
    _load_libraries(target.provider)
    settings = _settings(target) | settings | ({"user_compute_stream": str(stream.address)} if stream else {})
    providers = [(wanted, settings)]
    providers += [] if wanted == "CPUExecutionProvider" else [("CPUExecutionProvider", {})]
    try:
        session = ort.InferenceSession(name if isinstance(model, Path) else model, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base but this
        bad = target.provider == "cpu" or type(error).__name__ in _BAD_MODELS
        text = f"{name}: ONNX Runtime {ort.__version__} cannot load it: {one_line(error)}"
        raise (InputError if bad else MeasurementError)(text) from None
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        instead = short(session.get_providers()[0])
        cure = _LIBRARIES.get(target.provider.partition("-")[0])
        missing = f": its libraries cannot be loaded; {cure}" if cure else ""
        if cure and not gpus.visible():
            missing = ": there is no NVIDIA GPU here, or no driver for it (/dev/nvidia0)"
        raise MeasurementError(
            f"asked for the provider {target.provider}; ONNX Runtime would run on {instead}{missing}"
        )
    return session


def _load_libraries(provider: str) -> None:
    """Those of pip packages, which the system's loader does not find by itself."""
    if provider in _CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if provider == "tensorrt":
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt")


def _stream() -> Stream | None:
    try:
        return Stream()
    except (OSError, MeasurementError):  # no driver, or no GPU that it would use: the provider will say so
        return None


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


def _options(threads: int, plain: bool = False) -> ort.SessionOptions:
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


def _provider(asked: str) -> str:
    """'cpu' -> 'CPUExecutionProvider', among those that this onnxruntime has."""
    name = "cuda" if asked == GRAPH else asked
    available = ort.get_available_providers()
    for provider in available:
        if short(provider) == name:
            return str(provider)
    names = ", ".join(short(provider) for provider in available)
    package = _WHEELS.get(name)
    cure = f"; pip install {package} in place of onnxruntime" if package else ""
    raise UnavailableError(f"provider {asked} is not in this onnxruntime {ort.__version__}; it has: {names}{cure}")
