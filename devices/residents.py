"""Two models that cannot share a process, because their engine, interpreter or number of threads differ, timed against
each other: a resident process for each, stopped (SIGSTOP) but for its own blocks, so that no thread of it spins while
the other one runs.

    rivals    a pass: the worker that conducts the two residents
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import IO

from devices import blocks, conditions, disturbance, loading, program, protocol, worker
from devices.disturbance import Reading
from devices.protocol import Record
from profiles.errors import MeasurementError


def time_rivals(request: Record) -> Record:
    """As ``passes.time_latency``, for arms of which each has a ``target``; without what is of one process alone."""
    sources, providers = disturbance.Sources(), [arm["target"]["provider"] for arm in request["arms"]]
    with contextlib.ExitStack() as stack:
        # One after the other: each is stopped by the time the next one loads and warms up.
        residents = {arm["name"]: stack.enter_context(Resident({**request, **arm})) for arm in request["arms"]}
        own = [resident.process_id for resident in residents.values()]
        before = conditions.state(sources.read(), *providers, own=own)
        found = blocks.measure(
            {name: blocks.Arm(runs=one.runs, time=one.time) for name, one in residents.items()},
            groups=request["groups"],
            max_groups=request["max_groups"],
            seed=request["seed"],
            enough_ms=request.get("enough_ms"),
            paced=bool(request.get("interval_ms")),
        )
        after = conditions.state(sources.read(), *providers, own=own)
    return {"before": before, "after": after, "blocks": [dataclasses.astuple(block) for block in found]}


class Resident:
    """A process with one model ready to run, stopped whenever nothing is asked of it."""

    def __init__(self, request: Record) -> None:
        """Raises what loading and running the model raises there."""
        self._name = request["name"]
        command, environment = program.of("resident", request["target"])
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError as error:
            raise MeasurementError(f"the process of {self._name} cannot be started: {error}") from None
        self._lines = protocol.Lines()
        self.process_id = self._process.pid
        try:
            self.runs: int = self._ask(request)["runs"]
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Resident:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def time(self, count: int) -> tuple[tuple[int, ...], Reading, Reading]:
        """See ``blocks.Arm``. The readings are those of the resident itself."""
        self._process.send_signal(signal.SIGCONT)
        answer = self._ask({"id": 0, "count": count})
        return tuple(answer["latencies_ns"]), Reading(**answer["before"]), Reading(**answer["after"])

    def _ask(self, record: Record) -> Record:
        stdin, stdout = _open(self._process.stdin), _open(self._process.stdout)
        with contextlib.suppress(BrokenPipeError):  # it has ended: so does its stdout
            protocol.write(stdin.fileno(), record)
        answer: Record | None = None
        while answer is None:
            data = os.read(stdout.fileno(), 1 << 20)
            if not data:
                raise MeasurementError(f"the process of {self._name} {_end_of(self._process.wait())}")
            answer = next((found for line in self._lines.feed(data) if (found := protocol.parse(line))), None)
        if "error" in answer:
            raise protocol.error(answer["error"])
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process_id, os.WUNTRACED)  # until it stands still
        return answer

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def main(arguments: list[str]) -> int:
    """The resident. ``arguments``: its worker's process id. The first request is a model, each other one a block."""
    output = protocol.take_stdout()
    worker.die_with(int(arguments[0]))
    request = json.loads(sys.stdin.buffer.readline())
    try:
        sources = disturbance.Sources()
        model, _ = loading.ready(request)
        arm = loading.arm(model, request, sources, loading.prime_of(request))
        gc.collect()
        gc.disable()
        protocol.write(output, {"id": request["id"], "done": True, "runs": arm.runs})
        for line in sys.stdin.buffer:
            latencies_ns, before, after = arm.time(json.loads(line)["count"])
            readings = {"before": dataclasses.asdict(before), "after": dataclasses.asdict(after)}
            protocol.write(output, {"id": 0, "done": True, "latencies_ns": latencies_ns, **readings})
    except Exception as error:
        traceback.print_exc()
        protocol.write(output, protocol.failure(request["id"], error))
    sys.stderr.flush()
    os._exit(0)


OPERATIONS: dict[str, Callable[[Record], Record]] = {"rivals": time_rivals}


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise MeasurementError("a resident process has no pipes")
    return stream


def _end_of(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
