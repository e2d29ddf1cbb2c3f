"""A model in a session of ONNX Runtime, its inputs and outputs in bound buffers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from devices.engines import one_line
from devices.engines._cuda_events import Stream
from devices.engines._ort_trace import operators_of, placement_of
from devices.inputs import Arrays, Input
from profiles.clock import now_ns
from profiles.errors import InputError, MeasurementError

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


class Session:
    """``place``: whose memory inputs and outputs are bound in; "cuda" leaves the transfers out of a run. ``asked``: the
    provider of the target. ``folder``: where the trace goes of a session that takes one. ``stream``: that of the GPU
    which the session runs on, where it is ours.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        place: str,
        *,
        asked: str,
        folder: tempfile.TemporaryDirectory[str] | None,
        stream: Stream | None,
    ) -> None:
        self._session = session
        self._place = place
        self._asked = asked
        self._folder = folder
        self._stream = stream
        self._binding = session.io_binding()
        self._kept: Arrays = {}  # memory that the binding points into
        self._results: dict[str, ort.OrtValue] = {}  # likewise
        self.inputs: Sequence[Input] = inputs_of(session)

    def bind(self, feeds: Arrays) -> int:
        binding = self._binding
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        self._kept = {tensor.name: np.require(feeds[tensor.name], requirements="C") for tensor in self.inputs}
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
        except Exception as error:
            raise cannot_run(error) from None
        if self._place != "cpu":
            return first_run_ns  # the outputs stay where they are
        # From here on into the buffers of the first run: the inputs stay the same, and so do the shapes.
        self._results = dict(zip(outputs, outputs_of(binding), strict=True))
        binding.clear_binding_outputs()
        for name, value in self._results.items():
            binding.bind_ortvalue_output(name, value)
        return first_run_ns

    def run(self) -> None:
        # A method, so that whoever keeps `run` keeps this object and with it the memory that the binding points into.
        self._session.run_with_iobinding(self._binding)

    def device_ms(self, runs: int) -> list[float] | None:
        """Times of ``runs`` inferences between events on the GPU's stream, the gaps included in which it waits for the
        host to launch the next kernel; ``None`` without such a stream. A run that does not wait for the GPU at its end
        would need options of its own, which cost it more than the waiting does.
        """
        return None if self._stream is None else [self._stream.elapsed_ms(self.run) for _ in range(runs)]

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        if self._place != "cpu":
            names = [node.name for node in self._session.get_outputs()]
            return dict(zip(names, self._binding.copy_outputs_to_cpu(), strict=True))
        return {name: np.array(value.numpy()) for name, value in self._results.items()}  # a copy: that is a view

    def placement(self) -> dict[str, str]:
        return {node: self._as_asked(ran) for node, ran in placement_of(self._trace()).items()}

    def operators(self) -> list[tuple[str, str, str, float]]:
        """As ``operators_of``. Only for a model loaded with ``trace``, once, after some runs; instead of
        ``placement``. Profiling is on in that session, so the sum is longer than a latency.
        """
        found = operators_of(self._trace())
        return [(node, kind, self._as_asked(ran), time_ns) for node, kind, ran, time_ns in found]

    def _as_asked(self, ran: str) -> str:
        """A mode of a provider is none of its own to ONNX Runtime: "cuda-graph" is "cuda" in its trace."""
        return self._asked if ran == self._asked.partition("-")[0] else ran

    def _trace(self) -> list[dict[str, Any]]:
        if self._folder is None:
            raise RuntimeError("the trace of a model that was loaded without trace=True")
        events: list[dict[str, Any]] = json.loads(Path(self._session.end_profiling()).read_text())
        self._folder.cleanup()
        return events


def outputs_of(binding: ort.IOBinding) -> list[ort.OrtValue]:
    """Those of the last run. By index: what ``get_outputs`` gives are, before ONNX Runtime 1.32, references into the
    binding, which end when its outputs are cleared.
    """
    found = binding.get_outputs_as_ortvaluevector()
    return [ort.OrtValue(found[number]) for number in range(len(found))]


def cannot_run(error: Exception) -> MeasurementError:
    return MeasurementError(f"ONNX Runtime {ort.__version__} cannot run the model: {one_line(error)}")


def inputs_of(session: ort.InferenceSession) -> list[Input]:
    """Raises InputError on inputs and outputs that numpy has no type for: strings, bfloat16, sequences, maps."""
    for what, nodes in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for node in nodes:
            if node.type not in _DTYPES:
                accepted = "tensors of integers, booleans and floats of 16, 32 and 64 bits"
                raise InputError(f"{what} {node.name} of the model: given {node.type}; accepted: {accepted}")
    return [
        Input(
            name=node.name,
            dtype=_DTYPES[node.type],
            dims=tuple(dim if isinstance(dim, int) and dim >= 0 else str(dim or "?") for dim in node.shape),
        )
        for node in session.get_inputs()
    ]
