"""The program on a device: takes requests on stdin, starts a fresh worker process for each, passes its answer on.

    python -u agent.pyz             what a host starts, on this machine or over a connection
    python -u agent.pyz worker      what the agent starts
    python -u agent.pyz resident    what a worker starts that times two environments against each other

It lives as long as its connection: when stdin ends, its parent is gone, or a host that promised a sign of life every so
often has been silent for long, the worker is killed and the agent ends, also one that was stopped (on Linux: the kernel
continues it). It holds the device's lock while a worker runs and while a file arrives. While a worker measures, this
process is blocked in ``select``, because a process that polls on the same machine makes the measured one slower.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Callable
from typing import IO

from devices import depot, program, protocol
from devices.lock import Lock, lock_path
from devices.protocol import Lines, Record
from profiles.clock import utc_now
from profiles.errors import HwnasError, MeasurementError, UnavailableError

DEFAULT_DEADLINE_S = 600.0
_STDERR_KEPT = 4000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"]:
        from devices import worker

        return worker.main(arguments[1:])
    if arguments[:1] == ["resident"]:
        from devices import residents

        return residents.main(arguments[1:])
    output = protocol.take_stdout()
    held = depot.hold_agent(sys.argv[0])
    _unpack(sys.argv[0])
    # A login shell may have printed half a line before us.
    protocol.write_all(output, b"\n")
    with contextlib.suppress(BrokenPipeError):
        _serve(0, output)
    if held:
        held.close()
    return 0


def _unpack(archive: str) -> None:
    """The files of this program into a folder beside it, for workers; see ``bundle``. Without room they do without.

    What a power cut has left there in part is made anew.
    """
    folder = os.path.splitext(archive)[0]
    if not zipfile.is_zipfile(archive):
        return
    with contextlib.suppress(OSError), zipfile.ZipFile(archive) as files:
        if os.path.isdir(folder):
            if all(_size(os.path.join(folder, info.filename)) == info.file_size for info in files.infolist()):
                return
            shutil.rmtree(folder)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(archive) or ".") as place:
            part = os.path.join(place, "agent")
            files.extractall(part)
            os.rename(part, folder)


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _serve(requests: int, output: int) -> None:
    lines, waiting = Lines(), deque[Record]()
    job: _Job | None = None
    client, heard = "", time.monotonic()
    silence_s: float | None = None
    ends = [requests, *_parent()]
    try:
        while True:
            watched = ends + (job.descriptors() if job else [])
            left_s = None if silence_s is None else max(0.0, heard + silence_s - time.monotonic())
            limits_s = [limit for limit in (left_s, job.remaining_s() if job else None) if limit is not None]
            ready, _, _ = select.select(watched, [], [], min(limits_s, default=None))
            if any(end in ready for end in ends[1:]) or (left_s == 0.0 and requests not in ready):
                return
            if requests in ready:
                heard = time.monotonic()
                data = os.read(requests, 1 << 16)
                if not data:
                    return
                records = [record for line in lines.feed(data) if (record := protocol.parse(line))]
                waiting.extend(record for record in records if record.get("op") != "beat")
            if job and job.advance(ready):
                job = None
            while waiting and job is None:
                request = waiting.popleft()
                if request.get("op") == "hello":
                    client, silence_s = request.get("client", ""), request.get("silence_s")
                    protocol.write(output, {"id": request["id"], "done": True, "pid": os.getpid()})
                    continue
                try:
                    job = _Job(request, output, client)
                    job = None if job.over else job
                except OSError as error:
                    reason = UnavailableError(f"the device cannot be locked: {error}")
                    protocol.write(output, protocol.failure(request["id"], reason))
    finally:
        if job:
            job.kill()
        depot.forget_parts()


def _parent() -> list[int]:
    """A descriptor that becomes readable when the parent ends, where the kernel has those (Linux 5.3)."""
    if sys.platform == "linux":  # SIGCONT does nothing to a process that runs
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    try:
        return [os.pidfd_open(os.getppid())] if hasattr(os, "pidfd_open") else []
    except OSError:
        return []


class _Job:
    """One request: wait for the lock, run a worker, pass its lines on, and say how it ended."""

    def __init__(self, request: Record, output: int, client: str) -> None:
        self.over = False
        self._request = request
        self._client = client
        self._output = output
        self._worker: subprocess.Popen[bytes] | None = None
        self._deadline: float | None = None
        self._streams: dict[int, Callable[[bytes], None]] = {}
        self._lines = Lines()
        self._last_stderr = b""
        self._final = b""  # kept back until the worker is gone and the lock is free
        self._began = (0.0, "")
        self._granted: int | None = None  # readable once the lock is ours; None once it is
        self._lock = Lock(lock_path(), client)
        if self._lock.try_acquire():
            self._start()
        else:
            self._event("waiting", message=f"waiting for {self._lock.holder()}")
            self._granted = self._lock.wait()

    def descriptors(self) -> list[int]:
        return [self._granted] if self._granted is not None else list(self._streams)

    def remaining_s(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def advance(self, ready: list[int]) -> bool:
        """True once the request has its final record."""
        if self._granted is not None:
            if self._granted in ready:
                os.close(self._granted)
                self._granted = None
                self._start()
            return self.over
        for descriptor in [descriptor for descriptor in self._streams if descriptor in ready]:
            data = os.read(descriptor, 1 << 20)
            if data:
                self._streams[descriptor](data)
            else:
                del self._streams[descriptor]
        late = self.remaining_s() == 0.0
        if self._streams and not late and not self._final:  # a child of the worker may hold its pipes open
            return False
        self._end(late)
        return True

    def kill(self) -> int:
        """End the worker where it still runs; its exit status, negative where a signal ended it."""
        worker, self._worker = self._worker, None  # once: the connection may end while the last record is written
        if worker is None:
            return 0
        # It is our child and not yet waited for, so that its number cannot belong to another process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        status = worker.wait()
        for stream in self._pipes(worker):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        started, time_utc = self._began
        span = {"start_s": started, "end_s": time.monotonic(), "time": time_utc}
        depot.log({"op": self._request.get("op"), "client": self._client, "agent": os.getpid(), **span})
        return status

    def _start(self) -> None:
        self._event("started")
        if operation := depot.OPERATIONS.get(str(self._request.get("op"))):
            self._keep_file(operation)
            return
        self._began = (time.monotonic(), utc_now())
        self._deadline = time.monotonic() + float(self._request.get("deadline_s", DEFAULT_DEADLINE_S))
        try:
            self._worker = self._popen()
        except OSError as error:
            self._lock.release()
            self.over = True
            reason = UnavailableError(f"the worker cannot be started: {error}")
            protocol.write(self._output, protocol.failure(self._request["id"], reason))
            return
        stdin, stdout, stderr = (stream.fileno() for stream in self._pipes(self._worker))
        self._streams = {stdout: self._pass_on, stderr: self._keep_stderr}
        with contextlib.suppress(BrokenPipeError):  # it died at once: its end says why
            protocol.write(stdin, self._request)

    def _keep_file(self, operation: Callable[[Record], Record]) -> None:
        try:
            protocol.write(self._output, {"id": self._request["id"], "done": True, **operation(self._request)})
        except (HwnasError, OSError, ValueError, KeyError) as error:
            protocol.write(self._output, protocol.failure(self._request["id"], error))
        finally:
            self._lock.release()
            self.over = True

    def _popen(self) -> subprocess.Popen[bytes]:
        command, environment = program.of("worker", self._request.get("target", {}))
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True)

    @staticmethod
    def _pipes(worker: subprocess.Popen[bytes]) -> list[IO[bytes]]:
        return [stream for stream in (worker.stdin, worker.stdout, worker.stderr) if stream is not None]

    def _pass_on(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if protocol.is_final(line):
                self._final = self._final or line
            elif protocol.is_record(line):
                protocol.write_all(self._output, line + b"\n")

    def _keep_stderr(self, data: bytes) -> None:
        self._last_stderr = (self._last_stderr + data)[-_STDERR_KEPT:]

    def _end(self, late: bool) -> None:
        status = self.kill()
        self._lock.release()
        if self._final:
            protocol.write_all(self._output, self._final + b"\n")
        else:
            protocol.write(self._output, protocol.failure(self._request["id"], self._reason(status, late)))

    def _reason(self, status: int, late: bool) -> MeasurementError:
        operation = self._request.get("op")
        if late:
            limit_s = self._request.get("deadline_s", DEFAULT_DEADLINE_S)
            what = f"{operation} did not end within {limit_s:g} s and was killed"
        elif status < 0:
            what = f"the process of {operation} was killed by {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                what += " (as the kernel does when memory runs out)"
        else:
            what = f"the process of {operation} ended with status {status} and no answer"
        words = self._last_stderr.decode(errors="replace").strip().splitlines()[-3:]
        return MeasurementError(what + (f"; its last lines: {' | '.join(words)}" if words else ""))

    def _event(self, name: str, **data: object) -> None:
        protocol.write(self._output, {"id": self._request["id"], "event": name, **data})
