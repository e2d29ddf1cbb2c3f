"""A model that ONNX Runtime replays as a CUDA graph: the work of the GPU without the host that launches it.

Inputs and outputs stay where they were when the graph was captured, so other inputs of the same shapes are copied
there. ONNX Runtime refuses a model of which a node that does more than to compute shapes runs on another provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from devices.engines._cuda_events import Stream
from devices.engines._ort_session import Session, cannot_run, inputs_of, outputs_of
from devices.inputs import Arrays, Input
from profiles.clock import now_ns

_UNCAPTURED = -1
_TIMED_RUNS = 50


class Captured:
    """``transfers``: whether a run copies its inputs to the GPU and its outputs back. ``traced``: the model in a
    session that can say where its nodes ran, which a replay cannot.
    """

    def __init__(
        self, session: ort.InferenceSession, stream: Stream | None, transfers: bool, traced: Session | None
    ) -> None:
        self._session, self._stream, self._transfers, self._traced = session, stream, transfers, traced
        self._binding = session.io_binding()
        self._names = [node.name for node in session.get_outputs()]
        self._host: Arrays = {}
        self._there: dict[str, Any] = {}
        self._results: list[Any] = []  # in the GPU's memory
        self._options: ort.RunOptions | None = None  # none where they can be spared: they cost each run time
        self._graphs = 0  # one for each combination of shapes that was bound after another
        self.inputs: Sequence[Input] = inputs_of(session)

    def bind(self, feeds: Arrays) -> int:
        """The first run is not captured: the outputs that it makes are those that the graph writes to."""
        before = [array.shape for array in self._host.values()] if self._results else None
        self._host = {tensor.name: np.require(feeds[tensor.name], requirements="C") for tensor in self.inputs}
        start = now_ns()
        if before == [array.shape for array in self._host.values()]:
            self._bring()
            self.run()
            return now_ns() - start
        self._results = []
        self._options = _of_graph(self._graphs) if self._graphs else None  # the first is the default
        self._graphs += 1
        self._there = {name: ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for name, array in self._host.items()}
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        for name, value in self._there.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in self._names:
            self._binding.bind_output(name, "cuda")
        start = now_ns()
        try:
            self._session.run_with_iobinding(self._binding, _of_graph(_UNCAPTURED))
            first_run_ns = now_ns() - start
            results = outputs_of(self._binding)
            self._binding.clear_binding_outputs()
            for name, value in zip(self._names, results, strict=True):
                self._binding.bind_ortvalue_output(name, value)
            self._replay()
            self._results = results
        except Exception as error:
            raise cannot_run(error) from None
        return first_run_ns

    def run(self) -> None:
        if not self._transfers:
            self._replay()
            return
        self._bring()
        self._replay()
        for value in self._results:
            value.numpy()  # the copy back; `outputs` makes one of its own

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        return {name: value.numpy() for name, value in zip(self._names, self._results, strict=True)}

    def placement(self) -> dict[str, str]:
        return self._trace(1).placement()

    def operators(self) -> list[tuple[str, str, str, float]]:
        """Of the traced session, which runs them one by one."""
        return self._trace(_TIMED_RUNS).operators()

    def _trace(self, runs: int) -> Session:
        if self._traced is None:
            raise RuntimeError("the trace of a model that was loaded without trace=True")
        self._traced.bind(self._host)
        for _ in range(runs):
            self._traced.run()
        return self._traced

    def device_ms(self, runs: int) -> list[float] | None:
        """Times of ``runs`` inferences between events on the GPU's stream; ``None`` without such a stream."""
        return None if self._stream is None else [self._stream.elapsed_ms(self._replay) for _ in range(runs)]

    def _replay(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)

    def _bring(self) -> None:
        for name, value in self._there.items():
            value.update_inplace(self._host[name])


def _of_graph(number: int) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
