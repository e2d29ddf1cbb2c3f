"""The training jobs under way: starting, watching, timing out, standing still while this machine is measured."""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nas.account import Account
from nas.earlier import EARLIER
from nas.gpu_share import least_used
from nas.launcher import Launcher, Refused
from nas.patience import Patience
from nas.training.outcome import Outcome, read_outcome, read_result
from nas.waiting import Waiting

_CANCEL_S = 30.0  # in which a cluster is asked again when the search ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Which training: a trial's own one (``seed`` is ``None``), or one that confirms it with another seed."""

    trial: int
    seed: int | None = None


@dataclass(slots=True, kw_only=True)
class _Running:
    candidate: Path
    out_dir: Path
    handle: str | None = None  # ``None``: no cluster has taken it yet
    gpu: str | None = None
    since: float = math.inf  # monotonic s, moved on by the time it stood still
    stood_s: float = 0.0  # of a local job: how long that was by now
    idle_since: float | None = None  # monotonic s, of a cluster's job: queued or suspended
    looked_at: float = 0.0
    begun: bool = False  # also while it waits in a cluster's queue


class Jobs:
    def __init__(
        self,
        launcher: Launcher,
        *,
        parallel: int,
        timeout_s: float,
        script: str | None,
        account: Account,
        gpus: Sequence[str] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``gpus``: those that local jobs share, each job seeing one; ``None`` leaves that to the system. ``tell``: a
        line for a person, of a cluster that keeps the search waiting.
        """
        self._launcher = launcher
        self._parallel = parallel
        self._timeout_s = timeout_s
        self._script = script
        self._account = account
        self._gpus = gpus if launcher.local else None
        self._running: dict[Key, _Running] = {}
        self._ending: list[threading.Thread] = []  # cancelled, perhaps not gone yet
        self._patience = Patience(tell)
        self._waiting = Waiting(tell)

    @property
    def local(self) -> bool:
        """Whether jobs run on this machine and end with this process."""
        return self._launcher.local

    @property
    def free(self) -> int:
        return self._parallel - len(self._running)

    @property
    def running(self) -> list[Key]:
        return list(self._running)

    @property
    def longest_s(self) -> float:
        """How long the oldest of the running jobs has run by now, without its time in a queue or standing still."""
        return max((time.monotonic() - job.since for job in self._running.values() if job.begun), default=0.0)

    def start(self, key: Key, candidate: Path, out_dir: Path) -> None:
        """Submit, or adopt a job of an earlier controller that still runs. Leftovers of a dead one are removed.

        Raises UnavailableError where the scheduler refuses; a cluster that has taken jobs before is asked again in
        ``ended``, which then raises. Call both on the main thread: local jobs are tied to it.
        """
        job = _Running(candidate=candidate, out_dir=out_dir)
        others_wait = any(other.handle is None for other in self._running.values())
        self._submit(key, job, now=self._patience.due and not others_wait)
        self._running[key] = job

    def _submit(self, key: Key, job: _Running, *, now: bool) -> None:
        """``now``: else adopt it at most."""
        handle = self._launcher.adopt(job.out_dir)
        if handle is None:
            shutil.rmtree(job.out_dir, ignore_errors=True)
            if not now:
                return
            busy = [other.gpu or "" for other in self._running.values()]
            job.gpu = None if self._gpus is None else least_used(self._gpus, busy)
            try:
                handle = self._launcher.submit(job.candidate, job.out_dir, self._script, job.gpu)
            except Refused as error:
                if self.local:
                    raise
                handles = [other.handle for other in self._running.values() if other.handle is not None]
                self._patience.refused(error, others_run=any(not handle.startswith(EARLIER) for handle in handles))
                return
            self._patience.took()
        job.handle = handle
        job.looked_at = time.monotonic()
        job.idle_since = None if self._look_for_begin(key, job) else job.looked_at

    def _look_for_begin(self, key: Key, job: _Running) -> bool:
        """Looked at anew. A cluster's queue is no time in which it ran."""
        job.begun = self._launcher.begun(job.out_dir)
        job.since = self._since(job.out_dir)
        if job.begun:
            self._account.begin("training", key, job.since)
        return job.begun

    def ended(self) -> list[tuple[Key, Outcome]]:
        """Those that ended since the last call, timed-out ones included. ``wall_s`` is without times of standing still.
        Does not wait.

        Raises UnavailableError where a cluster has taken no job for many minutes.
        """
        for key, job in self._running.items():  # first: where that raises, nothing that ended is lost
            if job.handle is None and self._patience.due:
                self._submit(key, job, now=True)
        done = []
        for key, job in list(self._running.items()):
            outcome = None if job.handle is None else self._look(key, job, job.handle)
            if outcome is not None:
                done.append((key, _without(job.stood_s, outcome)))
                del self._running[key]
                self._account.end("training", key)
        if done:
            self._patience.room()
        if all(job.handle is not None for job in self._running.values()):
            self._patience.none_waits()
        if not self.local:
            self._tell()
        return done

    def _look(self, key: Key, job: _Running, handle: str) -> Outcome | None:
        """``None`` while it goes on."""
        before, job.looked_at = job.looked_at, time.monotonic()
        if self._launcher.state(handle, job.out_dir) == "ended":
            if not job.begun:
                self._look_for_begin(key, job)  # and ended since the last look
            return read_outcome(job.out_dir, None if self.local else self._launcher.word(handle))
        if not job.begun:  # the queue's time is not the job's, however long ago the last look was
            self._look_for_begin(key, job)
            return None
        word = None if self.local else self._launcher.word(handle)
        suspended = word is not None and word.suspended
        job.idle_since = (job.idle_since or before) if suspended else None
        if suspended:
            job.since += job.looked_at - before
        elif time.monotonic() - job.since > self._timeout_s:
            self._ending.append(self._cancel(handle))
            return Outcome(reason=f"no result within {self._timeout_s:g} s (train.timeout_s)")
        return None

    def _tell(self) -> None:
        taken = {job.handle: job.idle_since for job in self._running.values() if job.handle is not None}
        idle = [(since, handle) for handle, since in taken.items() if since is not None]
        since, first = min(idle, default=(None, ""))
        self._waiting.look(
            answered=any(self._launcher.word(handle) is not None for handle in taken) if taken else None,
            idle_s=None if since is None else time.monotonic() - since,
            why=lambda: self._launcher.why_queued(first),
        )

    def stop(self, key: Key) -> None:
        """End a running job; its slot is free at once. Nothing happens where it is not running."""
        job = self._running.pop(key, None)
        if job is not None:
            if job.handle is not None:
                self._ending.append(self._cancel(job.handle))
            self._account.end("training", key)

    def drop(self, key: Key) -> None:
        """Another controller has that training now: a job of a cluster itself, of a local one only the trial."""
        if self.local:
            self.stop(key)
        elif self._running.pop(key, None) is not None:
            self._account.end("training", key)

    def stop_leftover(self, out_dir: Path) -> None:
        """End a job of another controller that was to be stopped, if it still runs or nobody knows."""
        if read_result(out_dir) is not None:
            return  # its supervisor writes that last; no cluster need be asked about every job that was ever stopped
        handle = self._launcher.adopt(out_dir)
        if handle is None:
            return
        word = self._launcher.word(handle)
        if word is None or word.running:
            self._ending.append(self._cancel(handle))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No local job uses the machine inside. The time counts neither as the jobs' nor against their timeout."""
        jobs = list(self._running.values()) if self._launcher.local else []
        while self._launcher.local and self._ending:
            self._ending.pop().join()
        begun = time.monotonic()
        stopped: list[tuple[_Running, float]] = []  # and since when; the others have ended
        try:
            for job in jobs:
                if self._launcher.pause(job.out_dir):
                    stopped.append((job, time.monotonic()))
            yield
        finally:
            for job in jobs:
                self._launcher.resume(job.out_dir)
                job.since += time.monotonic() - begun
                self._account.jobs_stopped_s += time.monotonic() - begun
            for job, since in stopped:
                job.stood_s += time.monotonic() - since

    def cancel_all(self) -> None:
        """Local jobs end within seconds. Jobs on a cluster go on, and are adopted on resume; here they take no room.

        Cancellations that a cluster has not taken yet are waited for, 30 s at most: they end with this process.
        """
        if self.local:
            self._ending += [self._cancel(job.handle) for job in self._running.values() if job.handle is not None]
        end = time.monotonic() + _CANCEL_S
        for thread in self._ending:
            thread.join(None if self.local else max(0.0, end - time.monotonic()))  # local ones have their own limit
        self._ending = [thread for thread in self._ending if thread.is_alive()]
        for key in self.running:
            self._account.end("training", key)
        self._running.clear()

    def _since(self, out_dir: Path) -> float:
        """When the training began (monotonic s): now where it waits in a queue; a local job that is adopted ended."""
        return time.monotonic() - (0.0 if self.local else _age_s(out_dir))

    def _cancel(self, handle: str) -> threading.Thread:
        """In a thread, since cancelling a job that ignores SIGTERM takes as long as its grace."""
        thread = threading.Thread(target=self._launcher.cancel, args=(handle,), daemon=True)
        thread.start()
        return thread


def _without(stood_s: float, outcome: Outcome) -> Outcome:
    return outcome if outcome.wall_s is None else replace(outcome, wall_s=max(0.0, outcome.wall_s - stood_s))


def _age_s(out_dir: Path) -> float:
    """How long ago the job began, 0 where it has not, by the clock of the file system: the node's may be another."""
    now = out_dir / f".now-{os.getpid()}"
    try:
        begun = (out_dir / "job.json").stat().st_mtime
        now.touch()
        age_s = now.stat().st_mtime - begun
        now.unlink()
    except OSError:
        return 0.0
    return max(0.0, age_s)
