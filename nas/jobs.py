"""The training jobs under way: starting, watching, timing out, standing still while this machine is measured."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.account import Account
from nas.gpu_share import least_used
from nas.launcher import Launcher
from nas.training.outcome import Outcome, read_outcome, read_result

_CANCEL_S = 30.0  # in which a cluster is asked again when the search ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Which training: a trial's own one (``seed`` is ``None``), or one that confirms it with another seed."""

    trial: int
    seed: int | None = None


@dataclass(slots=True, kw_only=True)
class _Running:
    handle: str
    out_dir: Path
    gpu: str | None
    since: float  # monotonic s, moved on by the time it stood still
    begun: bool = True  # False while it waits in a cluster's queue


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
    ) -> None:
        """``gpus``: those that local jobs share, each job seeing one; ``None`` leaves that to the system."""
        self._launcher = launcher
        self._parallel = parallel
        self._timeout_s = timeout_s
        self._script = script
        self._account = account
        self._gpus = gpus if launcher.local else None
        self._running: dict[Key, _Running] = {}
        self._ending: list[threading.Thread] = []  # cancelled, perhaps not gone yet

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
        return max((time.monotonic() - job.since for job in self._running.values()), default=0.0)

    def start(self, key: Key, candidate: Path, out_dir: Path) -> None:
        """Submit, or adopt a job of an earlier controller that still runs. Leftovers of a dead one are removed.

        Raises UnavailableError where the scheduler refuses. Call it on the main thread: local jobs are tied to it.
        """
        handle = self._launcher.adopt(out_dir)
        gpu = None if self._gpus is None else least_used(self._gpus, [job.gpu or "" for job in self._running.values()])
        if handle is None:
            shutil.rmtree(out_dir, ignore_errors=True)
            handle = self._launcher.submit(candidate, out_dir, self._script, gpu)
        begun = self._launcher.begun(out_dir)
        self._running[key] = _Running(handle=handle, out_dir=out_dir, gpu=gpu, since=self._since(out_dir), begun=begun)
        self._account.begin("training", key)

    def ended(self) -> list[tuple[Key, Outcome]]:
        """Those that ended since the last call, timed-out ones included. Does not wait."""
        done = []
        for key, job in list(self._running.items()):
            if self._launcher.state(job.handle, job.out_dir) == "ended":
                word = None if self._launcher.local else self._launcher.word(job.handle)
                done.append((key, read_outcome(job.out_dir, word)))
            elif not job.begun:  # the queue's time is not the job's, however long ago the last look was
                job.begun = self._launcher.begun(job.out_dir)
                job.since = self._since(job.out_dir)
                continue
            elif time.monotonic() - job.since > self._timeout_s:
                self._ending.append(self._cancel(job))
                done.append((key, Outcome(reason=f"no result within {self._timeout_s:g} s (train.timeout_s)")))
            else:
                continue
            del self._running[key]
            self._account.end("training", key)
        return done

    def stop(self, key: Key) -> None:
        """End a running job; its slot is free at once. Nothing happens where it is not running."""
        job = self._running.pop(key, None)
        if job is not None:
            self._ending.append(self._cancel(job))
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
            job = _Running(handle=handle, out_dir=out_dir, gpu=None, since=time.monotonic())
            self._ending.append(self._cancel(job))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No local job uses the machine inside. The time counts neither as the jobs' nor against their timeout."""
        jobs = list(self._running.values()) if self._launcher.local else []
        while self._launcher.local and self._ending:
            self._ending.pop().join()
        begun = time.monotonic()
        try:
            for job in jobs:
                self._launcher.pause(job.out_dir)
            yield
        finally:
            for job in jobs:
                self._launcher.resume(job.out_dir)
                job.since += time.monotonic() - begun
                self._account.jobs_stopped_s += time.monotonic() - begun

    def cancel_all(self) -> None:
        """Local jobs end within seconds. Jobs on a cluster go on, and are adopted on resume; here they take no room.

        Cancellations that a cluster has not taken yet are waited for, 30 s at most: they end with this process.
        """
        if self.local:
            self._ending += [self._cancel(job) for job in self._running.values()]
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

    def _cancel(self, job: _Running) -> threading.Thread:
        """In a thread, since cancelling a job that ignores SIGTERM takes as long as its grace."""
        thread = threading.Thread(target=self._launcher.cancel, args=(job.handle,), daemon=True)
        thread.start()
        return thread


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
