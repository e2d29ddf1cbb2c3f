"""A node of a cluster: the agent runs there as a TorchX job, and speaks through a folder that both machines see.

[devices.node]
transport = "torchx"
scheduler = "slurm"               # any scheduler of TorchX
folder = "/shared/hwnas"          # under the same path here and there; agent, requests and answers go through it
python = "python3"                # default; with numpy and the engine's package, there
cpu = 4                           # default 1; what the job asks for
gpu = 0                           # default
memory_mb = 8000                  # default 4000
start_s = 600                     # default; how long the job may wait in the queue
options = {partition = "bench"}   # the scheduler's own, as TorchX names them

One job for a session: it ends with it, when it is cancelled, and some 30 s after the last sign of life from here. The
scheduler should give whole nodes (with Slurm: an exclusive partition), or others disturb what is measured.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic

from devices import depot, mailbox, protocol, slurm
from devices.transports import last_line, piped
from profiles.errors import InputError, UnavailableError

_OUTPUT_FOLDER = {"local_cwd": "log_dir", "slurm": "job_dir"}  # option for what the scheduler itself writes
_FASTEST_S, _SLOWEST_S = 0.02, 0.5  # between two looks into the folder
_ASK_S = 5.0  # between two questions to the scheduler
_LOOK_S = 1.0  # between two looks at its last answer, and for a sign of life
_SILENCE_S = 45.0  # of a job that has begun
_SILENT = "its scheduler does not answer"
_SUBMIT_S = 20.0  # Slurm has to take the job; less than a session waits for its device, so that the reason is heard
_END_S = 1.0  # for a job to end by itself, before it is cancelled
_KEPT_S = 24 * 3600.0


class Device(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    shares_files: ClassVar[bool] = False  # the models lie where only this machine sees them

    scheduler: str
    folder: Annotated[Path, pydantic.AfterValidator(lambda path: _absolute(path))]
    python: str = "python3"
    cpu: Annotated[int, pydantic.Field(ge=1)] = 1
    gpu: Annotated[int, pydantic.Field(ge=0)] = 0
    memory_mb: Annotated[int, pydantic.Field(ge=1)] = 4000
    start_s: Annotated[float, pydantic.Field(gt=0)] = 600.0
    options: dict[str, Any] = {}

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        return piped(
            [sys.executable, "-P", "-u", "-m", __name__, self.model_dump_json(), str(agent)],
            stderr,
        )

    def explain(self, status: int | None, stderr: str) -> str:
        return last_line(stderr)


def main(arguments: list[str]) -> int:
    """What ``start`` starts: submits the job, and carries requests and answers until either side ends."""
    output = protocol.take_stdout()
    device = Device(**json.loads(arguments[0]))
    session = device.folder / "sessions" / secrets.token_hex(8)
    try:
        job = _Job(device, session, _furnish(device, session, Path(arguments[1])))
    except (OSError, UnavailableError, InputError) as error:
        print(error, file=sys.stderr)
        shutil.rmtree(session, ignore_errors=True)
        return 1
    over = threading.Event()
    # A thread of its own: the main thread, interrupted, may hold what set() asks for.
    signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=over.set).start())
    first = threading.Thread(target=_carry_requests, args=(session, over, job.hear), daemon=True)
    first.start()
    try:
        word = job.serve(output, over)
    except BrokenPipeError:
        word = ""
    finally:
        job.end()
        shutil.rmtree(session, ignore_errors=True)
    if word:
        print(word, file=sys.stderr)
    return 1 if word else 0


def _furnish(device: Device, session: Path, agent: Path) -> Path:
    """The session's folders, and the agent where a node sees it. Raises UnavailableError."""
    there = device.folder / "agents" / agent.name
    try:
        for name in ("to-node", "to-host"):
            (session / name).mkdir(parents=True)
        there.parent.mkdir(exist_ok=True)
        if not there.exists():  # it is content-addressed, and renamed into place: several sessions may do this at once
            mailbox.write(str(there), agent.read_bytes())
        with contextlib.suppress(OSError):  # another user's
            os.utime(there)
        depot.forget_agents(there.parent)
        mailbox.write(str(session / "mailbox.py"), Path(mailbox.__file__).read_bytes())
        for old in session.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another session has ended
                if old.stat().st_mtime < time.time() - _KEPT_S:
                    shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UnavailableError(f"{device.folder} cannot be written: {error.strerror}") from None
    return there


def _carry_requests(session: Path, over: threading.Event, hear: Callable[[bytes], None]) -> None:
    outgoing = mailbox.Sender(str(session / "to-node"))
    try:
        while data := os.read(0, 1 << 20):
            hear(data)
            outgoing.send(data)
        over.set()
        outgoing.end()
    except OSError as error:  # a folder that is full, or gone
        print(f"{session}: cannot be written: {error.strerror}", file=sys.stderr)
        over.set()


class _Job:
    """The job of one session. Raises UnavailableError where the scheduler does not take it."""

    def __init__(self, device: Device, session: Path, agent: Path) -> None:
        from torchx.runner import Runner
        from torchx.schedulers import get_scheduler_factories
        from torchx.specs import AppDef, Resource, Role

        logging.getLogger("torchx").setLevel(logging.CRITICAL)
        factories = get_scheduler_factories()
        if device.scheduler not in factories:
            raise InputError(f"scheduler: given {device.scheduler!r}; accepted: {', '.join(sorted(factories))}")
        self._device, self._session = device, session
        self._request_id: object = None
        self._handle: str | None = None
        self._begun = False
        self._said = _SILENT, False  # the scheduler's last word, and whether that is the job's end
        words = [str(session / "mailbox.py"), str(session), str(agent), str(device.folder / "nodes")]
        role = Role(
            name="agent",
            image=str(session),
            entrypoint=device.python,
            args=words,
            resource=Resource(cpu=device.cpu, gpu=device.gpu, memMB=device.memory_mb),
        )
        options = dict(device.options)
        if key := _OUTPUT_FOLDER.get(device.scheduler):
            (session / "torchx").mkdir()
            options = {key: str(session / "torchx")} | options
        try:
            self._runner = Runner(slurm.SESSION, factories)
            request = self._runner.dryrun(AppDef(name="hwnas-agent", roles=[role]), device.scheduler, options)
            if device.scheduler == "slurm":
                slurm.complete(request.request)
                self._handle = slurm.submit(request.request, _SUBMIT_S)
            else:
                self._handle = self._runner.schedule(request)
        except Exception as error:  # a scheduler's: anything
            said = " ".join(str(error).split())[:300]
            raise UnavailableError(f"{device.scheduler} did not take the job: {said}") from None

    def hear(self, data: bytes) -> None:
        """The first request, whose sender is told what it waits for."""
        if self._request_id is None and (record := protocol.parse(data.partition(b"\n")[0])):
            self._request_id = record["id"]

    def serve(self, output: int, over: threading.Event) -> str:
        """Carry answers until the session is over, and then nothing; else why the job has ended."""
        incoming = mailbox.Receiver(str(self._session / "to-host"))
        threading.Thread(target=self._ask, args=(over,), daemon=True).start()
        begin = heard = time.monotonic()
        looked, pause_s, alive, said = begin, _FASTEST_S, "", ""
        while not over.is_set():
            now = time.monotonic()
            if data := incoming.receive():
                protocol.write_all(output, data)
                self._begun, heard, pause_s = True, now, _FASTEST_S
                continue
            if incoming.end is not None:
                return self._last_words(incoming.end)
            if now - looked > _LOOK_S:
                looked, (state, ended) = now, self._said
                if (sign := self._sign()) != alive:
                    alive, heard, self._begun = sign, now, True
                if ended:
                    time.sleep(_END_S)  # its last word may still be on the way through the file system
                    while data := incoming.receive():
                        protocol.write_all(output, data)
                    return self._last_words(incoming.end or f"the job {self._handle} has ended: {state}")
                if self._begun and now - heard > _SILENCE_S:
                    return f"the job {self._handle} gave no sign of life for {_SILENCE_S:g} s: {state}"
                if not self._begun and now - begin > self._device.start_s:
                    return f"the job {self._handle} did not start within {self._device.start_s:g} s: {state}"
                told = state != _SILENT or now - begin > 2 * _ASK_S  # until then it may just be slow
                if not self._begun and told and state != said and self._request_id is not None:
                    said = state
                    message = f"waiting for the job {self._handle} to start: {state}"
                    protocol.write(output, {"id": self._request_id, "event": "waiting", "message": message})
            over.wait(pause_s)
            pause_s = min(_SLOWEST_S, 1.2 * pause_s)
        return ""

    def end(self) -> None:
        """Nothing of the job stays behind. One that has begun is given a moment to end by itself."""
        end_file = self._session / "to-host" / "end"
        limit = time.monotonic() + (_END_S if self._begun else 0.0)
        while time.monotonic() < limit and not end_file.exists():
            time.sleep(0.02)
        try:
            if not end_file.exists() and self._handle:
                if self._device.scheduler == "slurm":
                    slurm.cancel(self._handle)
                else:
                    self._runner.cancel(self._handle)
            self._runner.close()
        except Exception as error:
            print(f"the job {self._handle} could not be cancelled: {error}", file=sys.stderr)

    def _ask(self, over: threading.Event) -> None:
        """In a thread of its own: a scheduler's command may hang, and answers of the agent must not wait for it."""
        while not over.wait(_ASK_S):
            self._said = self._state()

    def _state(self) -> tuple[str, bool]:
        """What the scheduler says of the job, and whether that is its end."""
        from torchx.specs import is_terminal

        try:
            status = self._runner.status(self._handle) if self._handle else None
        except Exception:  # TorchX knows not all of what Slurm says; then the signs of life decide
            return _SILENT, False
        if status is None:
            return "its scheduler no longer knows it", True
        message = f" ({status.msg})" if status.msg else ""
        return f"{status.state.name.lower()}{message}", is_terminal(status.state)

    def _sign(self) -> str:
        try:
            return (self._session / "alive").read_text()
        except OSError:
            return ""

    def _last_words(self, word: str) -> str:
        try:
            said = last_line((self._session / "stderr").read_text(errors="replace"))
        except OSError:
            said = ""
        said = said or self._logged()
        return f"{word}: {said}" if said else word or "the agent ended"

    def _logged(self) -> str:
        """The last line that the job wrote, where its scheduler keeps that in the session's folder."""
        for path in sorted((self._session / "torchx").rglob("*err*")):
            if path.is_file() and (said := last_line(path.read_text(errors="replace"))):
                return said
        return ""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("an absolute path, the same here and on the node")
    return path


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a thread still reads stdin
