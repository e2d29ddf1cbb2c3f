"""A connection to the agent of one device.

with connect(fleet.device("pi5"), "pi5") as session:
    answer = session.request("latency", ...)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from devices import protocol, transfer
from devices.bundle import build_agent
from devices.protocol import Lines, Record
from devices.transports import Device, readable
from profiles.errors import UnavailableError
from profiles.records import Target

OnEvent = Callable[[str, dict[str, Any]], None]

_START_S = 30.0  # for the agent's first word
_GRACE_S = 15.0  # for an answer after its deadline: then the agent or the connection hangs
_END_S = 2.0
_ABORT_S = 4.0
_BEAT_S = 10.0  # a device elsewhere is told this often that we are alive,
_SILENCE_S = 30.0  # and ends its agent after so long without
_ENDED = "the connection ended"


def connect(device: Device, name: str, on_event: OnEvent | None = None) -> Session:
    """Start the agent and wait for its first word. ``on_event`` is told of "waiting" (for another measurement to end).

    Raises UnavailableError where the device cannot be reached or has no Python for the agent.
    """
    return Session(device, name, on_event)


class Session:
    """For one thread at a time. Close it, or use it as a context manager: then nothing of it is left on the device."""

    def __init__(self, device: Device, name: str, on_event: OnEvent | None) -> None:
        self.device = device
        self.name = name
        self.on_event = on_event or (lambda kind, data: None)
        self._last_id = 0
        self._lines = Lines()
        self._records: deque[Record] = deque()
        self._answers: dict[tuple[str, str | None], Record] = {}  # engine, python -> what describes it and the device
        self._waited_s = 0.0
        self._closed = False
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._stderr, self._process = _started(device, name)
        self.request("hello", client=transfer.client(), silence_s=None if device.shares_files else _SILENCE_S)
        if not device.shares_files:
            threading.Thread(target=self._beat, daemon=True).start()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def process_id(self) -> int:
        """Of what the transport started on this machine."""
        return self._process.pid

    def abort(self) -> None:
        """From another thread: end the connection, which also ends a request that waits for its answer."""
        self._process.terminate()  # what the transport started may have something to end, such as a job
        killer = threading.Timer(_ABORT_S, self._process.kill)
        killer.daemon = True
        killer.start()

    def close(self) -> None:
        """End the agent, which ends what it started."""
        if self._closed:
            return
        self._closed = True
        self._ended.set()
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._stderr.close()

    def request(
        self, operation: str, *, deadline_s: float = 120.0, start_s: float = _START_S, **parameters: Any
    ) -> Record:
        """The final record of one operation. ``deadline_s`` counts from when the device is free for it; ``start_s``:
        how long its first word about it may take, with the way of the request there.

        Raises what the device raised (an error of ``profiles.errors``), MeasurementError where the operation crashed or
        ran past its deadline, UnavailableError where the connection ended; after the latter the session is closed.
        """
        if self._closed:
            raise UnavailableError(f"device {self.name}: the session is closed")
        self._last_id += 1
        try:
            request = {"id": self._last_id, "op": operation, "deadline_s": deadline_s, **parameters}
            self._write(request)
            final = self._answer(deadline_s, start_s)
        except BrokenPipeError:
            raise self._lost(_ENDED) from None
        except BaseException:  # Ctrl-C too: an answer may still come, and nobody would wait for it
            self.close()
            raise
        if "error" in final:
            raise protocol.error(final["error"])
        return final

    def clock_s(self) -> float:
        """Monotonic, and still while another measurement had the device: what a budget is counted with."""
        return time.monotonic() - self._waited_s

    def fingerprint(self, target: Target) -> dict[str, Any]:
        """What the device and the target's engine are; asked for once in a session."""
        fingerprint: dict[str, Any] = self._described(target)["device"]
        return fingerprint

    def model_format(self, target: Target) -> str:
        """The suffix of the files that the target's engine takes; see ``devices.engines``."""
        return str(self._described(target)["format"])

    def _described(self, target: Target) -> Record:
        key = target.engine, target.python
        if key not in self._answers:
            self._answers[key] = self.request("fingerprint", target=target.to_dict())
        return self._answers[key]

    def put(self, path: Path, beside: Sequence[Path] = ()) -> str:
        """Bring a file there, and those ``beside`` it (in or below its folder); its path on the device."""
        if self.device.shares_files:
            return str(transfer.placed(path, beside))
        return transfer.send(self.request, path, beside)

    def place(self, path: Path) -> str:
        """Where on the device to write what ``get`` will bring to ``path``."""
        return str(path.resolve()) if self.device.shares_files else str(self.request("place", name=path.name)["path"])

    def get(self, there: str, path: Path) -> None:
        if not self.device.shares_files:
            transfer.receive(self.request, there, path)

    def _write(self, record: Record) -> None:
        with self._writing:
            protocol.write(self._stdin.fileno(), record)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            try:
                self._write({"id": 0, "op": "beat"})
            except (OSError, ValueError):  # closed meanwhile; who waits for an answer learns why
                return

    def _answer(self, deadline_s: float, start_s: float) -> Record:
        patience: float | None = time.monotonic() + start_s
        since: float | None = None  # waiting
        while True:
            record = self._next(patience)
            if record.get("id") != self._last_id:
                continue
            event = record.get("event")
            if since is not None and event != "waiting":
                self._waited_s += time.monotonic() - since
                since = None
            if event == "waiting" and since is None:
                since = time.monotonic()
            if event is None:
                return record
            patience = None if event == "waiting" else time.monotonic() + deadline_s + _GRACE_S
            details = {key: value for key, value in record.items() if key not in ("id", "event")}
            self.on_event(event, {"device": self.name, **details})

    def _next(self, patience: float | None) -> Record:
        while not self._records:
            left = None if patience is None else patience - time.monotonic()
            # What only prints is as silent as what says nothing.
            if (left is not None and left <= 0) or not readable(self._stdout, left):
                raise self._lost("no answer")
            data = os.read(self._stdout.fileno(), 1 << 20)
            if not data:
                raise self._lost(_ENDED)
            self._records.extend(record for line in self._lines.feed(data) if (record := protocol.parse(line)))
        return self._records.popleft()

    def _lost(self, what: str) -> UnavailableError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # its last words may still be on the way
            self._process.wait(_END_S if what == _ENDED else 0.0)
        self._stderr.seek(0)
        words = self._stderr.read()[-4000:].decode(errors="replace")
        status = self._process.poll()
        self.close()
        why = self.device.explain(status, words)
        return UnavailableError(f"device {self.name}: {what}" + (f": {why}" if why else ""))

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout


def _started(device: Device, name: str) -> tuple[IO[bytes], subprocess.Popen[bytes]]:
    """Where its stderr goes, and the agent. Raises UnavailableError."""
    with contextlib.ExitStack() as undo:
        try:
            stderr = undo.enter_context(tempfile.TemporaryFile())
            process = device.start(build_agent(), stderr.fileno())
        except OSError as error:
            raise UnavailableError(f"device {name}: the agent cannot be started: {error}") from None
        except UnavailableError as error:
            raise UnavailableError(f"device {name}: {error}") from None
        undo.pop_all()
    return stderr, process
