"""Training jobs through TorchX.

A job's files decide what became of it: TorchX forgets local jobs with the process that started them, and schedulers
forget old ones. Local jobs end with the controller; jobs of a cluster live on and are adopted by the next one.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from torchx.runner import Runner
from torchx.schedulers import get_scheduler_factories
from torchx.specs import AppDryRunInfo

from devices.slurm import SESSION, complete
from nas import local_jobs, schedulers
from nas.earlier import EARLIER
from nas.folder import FULL
from nas.inbox import Inbox
from nas.schedulers import LOCAL
from nas.slurm import Slurm
from nas.torchx_jobs import TorchxJobs
from nas.training import component
from nas.training.job import DEFAULT
from nas.training.outcome import Word, read_result
from profiles import files
from profiles.errors import InputError, UnavailableError

_SETTLE_S = 5.0  # from a scheduler's word that a job has ended to believing that it left no result
_UNKNOWN_S = 60.0  # likewise where it knows no such job: the list of a new one may be late
# Pauses after a cancellation that a cluster did not take, some 20 minutes in all.
_CANCEL_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)


class Refused(UnavailableError):
    """The scheduler did not take a job. Later it may."""


class Launcher:
    def __init__(
        self,
        scheduler: str = LOCAL,
        options: Mapping[str, Any] | None = None,
        storage: str | None = None,
        **resources: Any,
    ) -> None:
        """``options``: TorchX's own of that scheduler; ``resources``: cpu, gpu, memory_mb, ... of ``component.train``;
        ``storage``: see ``nas.training.storage``, ``None`` where jobs see this machine's paths.

        Raises InputError on an unknown scheduler, option, mount or URL, UnavailableError where it cannot be used here.
        """
        factories = get_scheduler_factories()
        if scheduler not in factories:
            raise InputError(f"train.scheduler: given {scheduler!r}; accepted: {', '.join(sorted(factories))}")
        logging.getLogger("torchx").setLevel(logging.ERROR)
        self.scheduler = scheduler
        inside: dict[str, Any] = {"python": "python"} if resources.get("image") else {}
        self._resources = inside | resources
        self._runner = Runner(SESSION, factories)
        self._gone: dict[str, float] = {}  # handle -> when it was first seen to have ended
        self._jobs = Slurm() if scheduler == "slurm" else TorchxJobs(self._runner, scheduler)
        with _signal_handlers_kept():
            try:
                accepted = self._runner.scheduler_run_opts(scheduler)  # makes the scheduler
            except Exception as error:
                raise UnavailableError(f"the scheduler {scheduler} cannot be used here: {error}") from error
        if scheduler in schedulers.IN_CONTAINERS and not resources.get("image"):
            raise InputError.of("study", "train.image", "", f"a container image with hwnas in it, for {scheduler}")
        component.mounts_of(resources.get("mounts") or [])
        if storage is not None and self.local:
            accepted = f"a cluster's scheduler beside it; the jobs of {LOCAL} see this machine's files"
            raise InputError.of("study", "train.storage", storage, accepted)
        self._inbox = None if storage is None else Inbox(storage)
        self._options = schedulers.checked(options or {}, accepted)

    @property
    def local(self) -> bool:
        """Whether jobs run on this machine, can be paused, and end with this process."""
        return self.scheduler == LOCAL

    def check(self) -> None:
        """Raises UnavailableError where nothing could be submitted: a package is missing, the storage fails."""
        schedulers.require(self.scheduler)
        if self._inbox is not None:
            self._inbox.check()

    def request(
        self,
        candidate: Path,
        out_dir: Path,
        script: str | Path | None = None,
        ticket: str = "",
        gpu: str | None = None,
    ) -> AppDryRunInfo[Any]:
        """What ``submit`` would ask of the scheduler, as a value that can be printed and tested; no cluster is asked.

        Raises UnavailableError where Kubernetes's package is missing, which makes its requests.
        """
        if schedulers.needs(self.scheduler) == "kubernetes":
            schedulers.require(self.scheduler)
        out_dir = out_dir.absolute()
        app = component.train(
            str(candidate.absolute()),
            str(out_dir),
            str(Path(script).absolute()) if script else DEFAULT,
            name=f"{out_dir.parent.parent.name}-{out_dir.parent.name}",
            die_with=os.getpid() if self.local else 0,
            ticket=ticket,
            visible_gpu=gpu,
            storage=self._inbox.place(ticket) if self._inbox is not None else "",
            **self._resources,
        )
        options = self._options
        if key := schedulers.OUTPUT_FOLDER.get(self.scheduler):
            options = {key: str(out_dir / "torchx")} | options
        asked = self._runner.dryrun(app, self.scheduler, options)
        if self.scheduler == "slurm":
            complete(asked.request)
        return asked

    def submit(self, candidate: Path, out_dir: Path, script: str | Path | None = None, gpu: str | None = None) -> str:
        """Start a job; its handle. ``out_dir`` must hold no earlier job. ``gpu``: the one that it may see.

        A controller may be killed after the scheduler took the job and before the handle is written. Hence the ticket,
        written first: a job that finds another one ends at once, one that has begun says itself what its handle is.

        Raises Refused where the scheduler does not take it, UnavailableError where the folder or the storage fails.
        """
        ticket = secrets.token_hex(8)
        try:
            files.write_text(out_dir / "ticket", ticket)
            (out_dir / "torchx").mkdir(exist_ok=True)
            if self._inbox is not None:
                self._inbox.send(ticket, candidate, Path(script) if script else None)
            try:
                handle = self._jobs.submit(lambda: self.request(candidate, out_dir, script, ticket, gpu))
            except Exception as error:  # a scheduler's: anything
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                said = " ".join(str(error).split())
                raise Refused(f"{self.scheduler} did not take the job {out_dir}: {said}") from error
            # Another controller, to which this one was silent for too long, may have submitted its own meanwhile.
            if files.read_text(out_dir / "ticket") != ticket:
                self._cancel(handle)
                return files.read_text(out_dir / "handle") or handle
            files.write_text(out_dir / "handle", handle)
        except OSError as error:
            raise UnavailableError(f"{out_dir}: {error.strerror or error}") from error
        return handle

    def adopt(self, out_dir: Path) -> str | None:
        """The handle of an earlier controller's job that still runs, or that ended by itself; else ``None``.

        Then nothing of it runs any longer: a local job that is just dying with its controller is killed.
        """
        if self._inbox is not None:
            self._inbox.fetch_now(out_dir)
        handle = files.read_text(out_dir / "handle") or self._own_handle(out_dir)
        result = read_result(out_dir)
        if handle and result is not None and not result["cancelled"]:
            return handle
        if self.local:
            local_jobs.kill(out_dir)
            return None
        if handle and self.state(handle, out_dir) == "running":
            return handle
        self._forget(out_dir)
        return None

    def state(self, handle: str, out_dir: Path) -> Literal["running", "ended"]:
        arrived = self._inbox is None or self._inbox.fetch(out_dir)
        result = read_result(out_dir)
        if result is not None and (self.local or result["exit_code"] == 0):
            self._forget(out_dir)
            return "ended"
        word = self.word(handle)
        if word is None and result is None:
            return "running"  # the cluster does not answer now: the caller's timeout bounds this
        if word is not None and word.running:
            self._gone.pop(handle, None)
            return "running"  # with a result that is a failure, too: a preempted job may be queued again
        if self.local:
            local_jobs.kill(out_dir)  # where the supervisor was killed, the training's own children may be left
            return "ended"
        if result is None:
            # A network file system remembers for a while that there was none; who lists the folder asks anew.
            with suppress(OSError):
                os.listdir(out_dir)
        if result is None and not arrived:
            return "running"  # a storage that does not answer now: ``fetch`` bounds this
        # A result may be on its way through a network file system, the scheduler's reason through its accounts.
        known = result is not None and word is not None
        unknown_s = _UNKNOWN_S if word is not None and word.forgotten else _SETTLE_S
        if not known and self._for_s(handle) <= unknown_s:
            return "running"
        if self._inbox is not None:
            self._inbox.fetch_now(out_dir)  # once more: it is looked at less often than that
        self._forget(out_dir)
        return "ended"

    def word(self, handle: str) -> Word | None:
        """What the scheduler says, some 2 s ago on a cluster; ``None`` where it does not answer, and of a training that
        was brought from elsewhere.
        """
        if handle.startswith(EARLIER):
            return None
        return self._jobs.word(handle)

    def why_queued(self, handle: str) -> str:
        """What the scheduler says of a job that waits in its queue; empty where it says nothing."""
        return self._jobs.why_queued(handle)

    def begun(self, out_dir: Path) -> bool:
        """False while a cluster's job waits in the queue."""
        return self.local or (out_dir / "job.json").exists()

    def cancel(self, handle: str) -> None:
        """Ask it to end, kill it after a grace. Blocks meanwhile: call it from a thread.

        Local jobs take up to 10 s. A cluster that does not take it is asked again until it says that the job has ended,
        some 20 minutes at most.
        """
        for pause_s in _CANCEL_AGAIN_S:
            if self._cancel(handle) or self.local:
                return
            time.sleep(pause_s)
            word = self.word(handle)
            if word is not None and not word.running:
                return
        self._cancel(handle)

    def _cancel(self, handle: str) -> bool:
        """Whether that was possible."""
        try:
            self._jobs.cancel(handle)
        except Exception as error:
            logging.getLogger(__name__).warning("cancelling %s: %s", handle, error)
            return False
        return True

    def _forget(self, out_dir: Path) -> None:
        """What the storage holds of a job that has ended, or that nobody waits for."""
        if self._inbox is not None:
            self._inbox.forget(out_dir)

    def _lives(self, out_dir: Path) -> bool:
        word = self.word(files.read_text(out_dir / "handle") or "")
        return word is not None and word.running

    def _for_s(self, handle: str) -> float:
        """Since this was first asked of that job."""
        return time.monotonic() - self._gone.setdefault(handle, time.monotonic())

    def _own_handle(self, out_dir: Path) -> str | None:
        """As the job itself wrote it down."""
        job = local_jobs.job_of(out_dir)
        app_id = job.get("app_id") if job else None
        option = schedulers.PLACE.get(self.scheduler)
        place = "" if option is None else f"{self._options.get(option, 'default')}:"
        return f"{self.scheduler}://{SESSION}/{place}{app_id}" if app_id else None

    def pause(self, out_dir: Path) -> bool:
        """Stop all processes of a local job's training. False where there is nothing to stop: it has ended.

        One that is only starting is waited for: it would train beside what is measured.
        """
        return self.local and local_jobs.signal_training(out_dir, signal.SIGSTOP, lambda: self._lives(out_dir))

    def resume(self, out_dir: Path) -> bool:
        return self.local and local_jobs.signal_training(out_dir, signal.SIGCONT)


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """TorchX's local scheduler takes SIGINT and SIGTERM for itself: Ctrl-C belongs to the controller."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
