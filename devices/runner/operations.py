"""The operations of a session on a device that adb reaches: what the runner is asked for each, and the agent's answers
made of what it says. One function for each name in ``OPERATIONS``.

Inputs are made here, by the code that makes them in an agent, and outputs are compared here with those of this
machine's ONNX Runtime on one CPU thread without optimisations. Timing, and what disturbed it, is the runner's work.
"""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import devices
from devices import disturbance, fallback, inputs, loading, memory_pass, observe, onnxfile, parity
from devices.engines import _ort_trace, onnxruntime
from devices.inputs import Arrays, Input
from devices.lock import holder_of
from devices.protocol import Record
from devices.runner import state
from devices.runner.link import Link
from profiles.errors import UnavailableError
from profiles.records import Target

ENGINE = "onnxruntime"
_LIMITS = (
    disturbance.MAX_PRESSURE,
    disturbance.MAX_STEAL,
    disturbance.MAX_WAITED,
    disturbance.MAX_SWITCHES_PER_S,
)
_PACKAGE = Path(str(devices.__file__)).parent


def perform(link: Link, request: Record, client: str, tell: Callable[..., None]) -> Record:
    """The answer to ``request``, with the device's lock held for ``client`` all the while, pushing files included.

    ``tell``: takes an event's name and its fields. Raises UnavailableError for what is not measured over adb.
    """
    operation = OPERATIONS.get(str(request["op"]))
    if operation is None:
        there = f"no operation {request['op']!r}; there are: {', '.join(OPERATIONS)}"
        reason = _NOT_THERE.get(str(request["op"]), there)
        raise UnavailableError(f"not measured over adb: {reason}")

    def waiting(record: Record) -> None:
        tell("waiting", message=f"waiting for {holder_of(record['holder'])}")

    link.ask("begin", request["op"], client, on_event=waiting)
    try:
        tell("started")
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            return operation(_Pass(link, request, Path(folder), tell))
    finally:
        link.ask("end")


@dataclass(frozen=True, slots=True)
class _Pass:
    """One request, and what its operation needs to have it done. ``folder``: a scratch folder on this machine."""

    link: Link
    request: Record
    folder: Path
    tell: Callable[..., None]

    @property
    def target(self) -> Target:
        target = Target(**self.request["target"])
        if target.engine != ENGINE:
            raise UnavailableError(f"engine {target.engine} does not run over adb; accepted: {ENGINE}")
        if target.python is not None:
            reason = "a phone has no Python; the runtime there is the library in the device's table"
            raise UnavailableError(f"target {target.name}: python: given {target.python!r}; {reason}")
        return target

    def run(self, kind: str, *words: object) -> Record:
        """The device's deadline begins now, and so does the patience of who asked: all files are there."""
        self.tell("started")
        return self.link.ask("pass", self.request.get("deadline_s", 120.0), kind, *words)

    def put(self, model: Path) -> str:
        return self.link.put(model, onnxfile.external_files(model))

    def put_arrays(self, feeds: Arrays, order: Sequence[Input]) -> str:
        """INPUTS of the runner: the paths there of an .npy file for each input."""
        places = []
        for number, tensor in enumerate(order):
            path = self.folder / f"{number}.npy"
            np.save(path, np.require(feeds[tensor.name], requirements="C"), allow_pickle=False)
            places.append(self.link.put(path))
        return ":".join(places)

    def fed(self, model: Path, how: Record) -> tuple[str, str]:
        """MODEL and INPUTS of the runner, for a model that is fed as ``how`` says; a target there counts first."""
        known, target = _inputs_of(model), Target(**(how.get("target") or self.request["target"]))
        return self.put(model), self.put_arrays(loading.feeds_of(known, target, how), known.inputs)

    @contextmanager
    def there(self) -> Iterator[str]:
        """A folder of its own on the device."""
        place = f"{self.link.folder}/run/{self.link.pid}-{self.request['id']}"
        self.link.shell(f"mkdir -p {place}")
        try:
            yield place
        finally:
            self.link.shell(f"rm -r {place}")


def _describe(one: _Pass) -> Record:
    _ = one.target
    return {"format": ".onnx", **state.fingerprint(one.link, one.run("describe"))}


def _health(one: _Pass) -> Record:
    return {"health": state.health(one.link, one.run("describe"))}


def _parity(one: _Pass) -> Record:
    """As ``passes.check_parity``, without its second run that tells outputs of random nodes from wrong ones; the
    reference is computed on this machine."""
    request, target = one.request, one.target
    model = Path(request["model"])
    known = _inputs_of(model)
    if request.get("reference"):
        feeds, expected = loading.read_reference(Path(request["reference"]), known, target.batch)
    else:
        feeds = loading.feeds_of(known, target, request)
        plain = dataclasses.replace(target, provider="cpu", precision="fp32", threads=1)
        reference = onnxruntime.load(Path(request.get("reference_model") or model), plain, plain=True)
        reference.bind(feeds)
        expected = reference.outputs()
    events, outputs = _traced(one, one.put(model), one.put_arrays(feeds, known.inputs), runs=1)
    found = parity.agreement(outputs, expected)
    parity.judge(found, target.precision)
    return {"output_error": found.error, **fallback.judge(_ort_trace.placement_of(events), target)}


def _operators(one: _Pass) -> Record:
    model, feeds = one.fed(Path(one.request["model"]), one.request)
    events, _ = _traced(one, model, feeds, runs=observe.OPERATOR_RUNS)
    return {"operators": _ort_trace.operators_of(events)}


def _traced(one: _Pass, model: str, feeds: str, *, runs: int) -> tuple[list[dict[str, Any]], Arrays]:
    """ONNX Runtime's trace of ``runs``, and the outputs."""
    with one.there() as place:
        answer = one.run("run", one.target.provider, one.target.threads, runs, f"{place}/trace", model, feeds, place)
        one.link.get(answer["trace"], one.folder / "trace.json")
        outputs = {}
        for number, name in enumerate(answer["outputs"]):
            path = one.folder / f"output{number}.npy"
            one.link.get(f"{place}/{number}.npy", path)
            outputs[name] = np.load(path, allow_pickle=False)
    return json.loads((one.folder / "trace.json").read_text()), outputs


def _outputs(one: _Pass) -> Record:
    """As ``passes.compute_outputs``."""
    request, target = one.request, one.target
    model, known = Path(request["model"]), _inputs_of(Path(request["model"])).inputs
    samples, batch = loading.samples_of(request, target, known)
    first = np.take(samples, np.arange(batch), axis=0, mode="wrap")
    inputs.check({known[0].name: first}, known, request["inputs"])
    with one.there() as place:
        found = f"{place}/outputs.npy"
        there = one.put_arrays({known[0].name: samples}, known)
        answer = one.run("outputs", target.provider, target.threads, batch, one.put(model), there, found)
        one.link.get(found, Path(request["outputs"]))
    return {"samples": answer["samples"]}


def _latency(one: _Pass) -> Record:
    """As ``passes.time_latency``."""
    request, target = one.request, one.target
    shuffle = random.Random(request["seed"]).shuffle
    orders = []
    for _ in range(request["max_groups"]):
        order = list(range(len(request["arms"])))
        shuffle(order)
        orders.append("".join(map(str, order)))
    arms = []
    for arm in request["arms"]:
        model = Path(arm["model"]) if arm["model"] else _PACKAGE / f"{arm.get('shipped', 'calibration')}.onnx"
        how = {**request, **arm}
        arms += [arm["name"], *one.fed(model, how if arm["model"] else {"target": how["target"]})]
    times = [request[key] for key in ("groups", "block_ms", "warm_up_ms")]
    times += [request.get(key) or 0.0 for key in ("interval_ms", "enough_ms")]
    # Between the runs of a paced block the governor lowers the frequency by itself; by more than all of it cannot be.
    slowed = 1.0 if request.get("interval_ms") else disturbance.MAX_SLOWED
    limits = ",".join(map(str, (*_LIMITS, slowed)))
    answer = one.run("latency", target.provider, target.threads, *times, limits, ",".join(orders), *arms)
    return {"build_ns": None} | {key: value for key, value in answer.items() if key not in ("id", "done")}


def _memory(one: _Pass) -> Record:
    if reason := memory_pass.unread_memory(one.target):
        return {"peak_memory_mb": None, "reason": reason}
    empty = one.fed(_PACKAGE / "empty.onnx", {})
    model = one.fed(Path(one.request["model"]), one.request)
    answer = one.run("memory", one.target.provider, one.target.threads, memory_pass.RUNS, *empty, *model)
    return {key: answer[key] for key in ("peak_memory_mb", "reason") if key in answer}


OPERATIONS: dict[str, Callable[[_Pass], Record]] = {
    "fingerprint": _describe,
    "health": _health,
    "parity": _parity,
    "outputs": _outputs,
    "latency": _latency,
    "memory": _memory,
    "operators": _operators,
}
_NOT_THERE = {
    "energy": "the runner reads no meter",
    "meter": "the runner reads no meter",
    "rivals": "the runner times two models in one process, with the same threads and provider",
    "callers": "the runner is one caller",
    "sustain": "the runner keeps up no steady load",
}


_known_inputs: dict[tuple[Path, int], Any] = {}


def _inputs_of(model: Path) -> Any:
    """What ``loading.feeds_of`` needs to know of a model: its ``inputs``, as this machine's ONNX Runtime reads them."""
    key = (model, model.stat().st_mtime_ns) if model.is_file() else (model, 0)
    if key not in _known_inputs:
        loaded = onnxruntime.load(model, Target(name="inputs", device="local"), plain=True)
        _known_inputs[key] = SimpleNamespace(inputs=loaded.inputs)
    return _known_inputs[key]
