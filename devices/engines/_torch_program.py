"""Exported programs of torch (.pt2): reading them safely, and running what an engine made of them.

What the torch engines share. A program file is a zip of tensors and JSON, unless it holds pickled parts, which could
execute anything: such a file is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils._pytree import tree_leaves

from devices.engines import ONNX, one_line
from devices.inputs import Arrays, Input
from profiles.clock import now_ns
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

Module = Callable[..., Any]
Build = Callable[[list[torch.Tensor]], tuple[Module, dict[str, str]]]  # examples -> module, and its nodes

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
_ACCEPTED = "an exported program (.pt2), which hwnas makes of a reference model, a study's candidate or a torch module"


def read(model: Path | bytes, engine: str) -> torch.export.ExportedProgram:
    """Raises InputError: an ONNX file, no program at all, or one with pickled parts."""
    name = str(model) if isinstance(model, Path) else "model"
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{name}: there is no such model file")
    if name.endswith(ONNX):
        raise InputError(f"{name}: engine {engine} cannot run an ONNX file; accepted: {_ACCEPTED}")
    data = model.read_bytes() if isinstance(model, Path) else model
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickled = _pickled(archive)
    except (zipfile.BadZipFile, ValueError, KeyError):
        raise InputError(f"{name}: not an exported program of torch, or cut short; accepted: {_ACCEPTED}") from None
    if pickled:
        raise InputError(f"{name}: {pickled} is pickled and could execute anything; accepted: tensors as plain bytes")
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:
        raise InputError(f"{name}: torch {torch.__version__} cannot load it: {one_line(error)}") from None


def cuda(target: Target) -> torch.device:
    """Raises UnavailableError where torch has no CUDA device."""
    if not torch.cuda.is_available():
        raise UnavailableError(
            f"provider {target.provider}: torch {torch.__version__} finds no CUDA device here; with an NVIDIA GPU and "
            "its driver: pip install --index-url https://download.pytorch.org/whl/cu130 torch"
        )
    return torch.device("cuda")


def versions() -> dict[str, str]:
    """torch's, and where there is one, CUDA's and the name of the GPU, since the fingerprint must tell GPUs apart."""
    found = {"torch": str(torch.__version__)}
    if torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name()}
    return found


def dtype_of(target: Target) -> torch.dtype:
    """Raises InputError on a precision that a torch program cannot be turned into."""
    if target.precision not in _PRECISIONS:
        accepted = f"{', '.join(_PRECISIONS)} (int8 files are ONNX)"
        raise InputError.of(f"engine {target.engine}", "precision", target.precision, accepted)
    return _PRECISIONS[target.precision]


def inputs_of(program: torch.export.ExportedProgram) -> list[Input]:
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [_input(name, values[name]) for name in program.graph_signature.user_inputs if isinstance(name, str)]


class Runner:
    """Calls ``module`` on tensors of ``dtype`` on ``device``; outside, inputs and outputs are numpy arrays.

    ``transfers``: whether a run copies its inputs to the device and its outputs back. ``graph``: replay a CUDA graph.
    ``nodes``: node -> provider, for ``placement``. ``build``: makes of tensors as they are bound (of their shapes and
    types, on the device) what is run instead of ``module``, once for the same shapes.
    """

    def __init__(
        self,
        module: Module,
        inputs: Sequence[Input],
        *,
        device: torch.device,
        dtype: torch.dtype,
        transfers: bool,
        graph: bool = False,
        nodes: dict[str, str],
        build: Build | None = None,
    ) -> None:
        self.inputs = inputs
        self.build_ns: int | None = None  # what the last build took
        self._module, self._device, self._dtype = module, device, dtype
        self._on_gpu, self._transfers, self._graph = device.type == "cuda", transfers, graph
        self._nodes = nodes
        self._build = build
        self._built_for: list[torch.Size] = []
        self._host: list[torch.Tensor] = []
        self._there: list[torch.Tensor] = []
        self._results: list[torch.Tensor] = []
        self._compute: Callable[[], Any] = self._call
        self._bare = not self._on_gpu and dtype == torch.float32

    @torch.inference_mode()
    def bind(self, feeds: Arrays) -> int:
        # Copies, which the numpy arrays cannot be changed through; torch wants them writable.
        self._host = [torch.from_numpy(np.array(feeds[tensor.name])) for tensor in self.inputs]
        if self._on_gpu:
            self._host = [tensor.pin_memory() for tensor in self._host]
        self._there = [self._moved(tensor) for tensor in self._host]
        self._compute = self._call
        self._built()
        start = now_ns()
        try:
            self.run()
            first_run_ns = now_ns() - start
            if self._graph:
                self._compute = self._captured()
                self.run()
        except Exception as error:
            raise MeasurementError(f"torch {torch.__version__} cannot run the model: {one_line(error)}") from None
        return first_run_ns

    @torch.inference_mode()
    def run(self) -> None:
        if self._bare:
            self._results = self._compute()
            return
        if self._transfers:
            for there, host in zip(self._there, self._host, strict=True):
                there.copy_(host, non_blocking=True)
        results = self._compute()
        self._results = [result.to("cpu") for result in results] if self._transfers else results
        if self._on_gpu:
            torch.cuda.synchronize()

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        names = ["output"] if len(self._results) == 1 else [f"output{n}" for n in range(len(self._results))]
        return {name: _array(result) for name, result in zip(names, self._results, strict=True)}

    def placement(self) -> dict[str, str]:
        return dict(self._nodes)

    def device_ms(self, runs: int) -> list[float] | None:
        """Times of ``runs`` inferences between the GPU's own events, without transfers; ``None`` on a CPU.

        Run eagerly, they hold the gaps in which the GPU waits for the host to launch the next kernel.
        """
        if not self._on_gpu:
            return None
        found = []
        with torch.inference_mode():
            for _ in range(runs):
                begin, end = _event(), _event()
                begin.record()
                self._compute()
                end.record()
                end.synchronize()
                found.append(begin.elapsed_time(end))
        return found

    def _call(self) -> list[torch.Tensor]:
        found = self._module(*self._there)
        if isinstance(found, torch.Tensor):
            return [found]
        if isinstance(found, tuple | list) and all(isinstance(one, torch.Tensor) for one in found):
            return list(found)
        return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]  # dicts, and what is nested

    def _built(self) -> None:
        shapes = [tensor.shape for tensor in self._there]
        if self._build is None or shapes == self._built_for:
            return
        with torch.inference_mode(False):  # tensors made in that mode cannot be traced
            examples = [torch.zeros(t.shape, device=t.device, dtype=t.dtype) for t in self._there]
            start = now_ns()
            self._module, self._nodes = self._build(examples)
            self.build_ns = now_ns() - start
        self._built_for = shapes

    def _captured(self) -> Callable[[], list[torch.Tensor]]:
        """The run as a CUDA graph, after warm-up on a stream of its own, as torch's documentation asks."""
        stream = _stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = self._call()

        def replay() -> list[torch.Tensor]:
            graph.replay()
            return results

        return replay

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the device, and in the model's precision where it is a float."""
        return tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)


def _pickled(archive: zipfile.ZipFile) -> str | None:
    """The first part of the archive that would be unpickled."""
    for name in archive.namelist():
        if name.endswith("_config.json") and "/data/" in name:
            for part, entry in json.loads(archive.read(name))["config"].items():
                if entry["use_pickle"]:
                    return str(part)
        if "/data/sample_inputs/" in name and archive.getinfo(name).file_size:
            if not _plain_tensors(archive.read(name)):
                return name
    if not any(name.endswith("archive_format") for name in archive.namelist()):
        raise KeyError("archive_format")  # torch's format before 2.8, which is pickled throughout
    return None


def _plain_tensors(data: bytes) -> bool:
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        return False
    return True


def _input(name: str, value: Any) -> Input:
    dims = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return Input(name=name, dtype=str(value.dtype).removeprefix("torch."), dims=dims)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _stream() -> Any:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _array(result: torch.Tensor) -> npt.NDArray[Any]:
    on_host = result.detach().to("cpu", copy=True)
    return (on_host.float() if on_host.dtype == torch.float16 else on_host).numpy()
