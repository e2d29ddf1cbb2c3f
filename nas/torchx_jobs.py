"""Jobs of all schedulers but Slurm, as TorchX submits, asks about and cancels them. See ``nas.slurm`` for that one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from torchx.runner import Runner
from torchx.specs import AppDryRunInfo, AppState, AppStatus, is_terminal

from nas.deadline import within
from nas.schedulers import LOCAL
from nas.training.outcome import Word

T = TypeVar("T")
_NOT_FOUND = 404  # how Kubernetes says that a job was deleted
_ASK_S = 2.0  # a cluster is asked about a job at most this often
_ANSWER_S = 60.0
_SUBMIT_S = {"local_docker": 1800.0}  # which fetches the image first
_LEAVE_S = 120.0  # one that did not answer about a job in time is not asked for so long


class TorchxJobs:
    """``submit`` and ``cancel`` raise what the scheduler's own client raises, TimeoutError where that never ends."""

    def __init__(self, runner: Runner, scheduler: str) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._asked: dict[str, tuple[float, Word | None]] = {}  # handle -> when (monotonic s), and the answer
        self._left_until = -math.inf
        self._alive: list[str] = []  # handles of local jobs that TorchX has not seen to have ended

    def submit(self, request: Callable[[], AppDryRunInfo[Any]]) -> str:
        """The handle. A job that is taken later than anybody waits is cancelled."""
        if self._scheduler == LOCAL:
            self._let_go()
            self._alive.append(self._runner.schedule(request()))
            return self._alive[-1]
        late = threading.Event()

        def schedule() -> str:
            handle = self._runner.schedule(request())
            if late.is_set():
                self._runner.cancel(handle)
            return handle

        try:
            return within(_SUBMIT_S.get(self._scheduler, _ANSWER_S), schedule)
        except TimeoutError:
            late.set()
            raise

    def word(self, handle: str) -> Word | None:
        """What it says, of a cluster's job at most ``_ASK_S`` ago; ``None`` where it does not answer now."""
        if self._scheduler == LOCAL:
            return self._ask(handle)
        when, word = self._asked.get(handle, (-math.inf, None))
        if time.monotonic() - when > _ASK_S:
            word = None if time.monotonic() < self._left_until else self._ask(handle)
            self._asked[handle] = time.monotonic(), word
        return word

    def why_queued(self, handle: str) -> str:
        """What it says of a job that waits in its queue; empty where it says nothing."""
        word = self.word(handle)
        return (word.reason if word else None) or ""

    def cancel(self, handle: str) -> None:
        self._within(_ANSWER_S, lambda: self._runner.cancel(handle))

    def _within(self, seconds: float, call: Callable[[], T]) -> T:
        """Local jobs end with the thread that started them."""
        return call() if self._scheduler == LOCAL else within(seconds, call)

    def _let_go(self) -> None:
        """TorchX keeps 100 local jobs, and lets go of those alone that it was asked about after their end."""
        words = {handle: self._ask(handle) for handle in self._alive}
        self._alive = [handle for handle, word in words.items() if word is None or word.running]

    def _ask(self, handle: str) -> Word | None:
        status: AppStatus | None
        try:
            status = self._within(_ANSWER_S, lambda: self._runner.status(handle))
        except TimeoutError:
            self._left_until = time.monotonic() + _LEAVE_S
            return None
        except Exception as error:
            if getattr(error, "status", None) != _NOT_FOUND:
                return None
            status = None
        if status is None:
            said = f"{self._scheduler} no longer knows the job"
            return Word(running=False, reason=said, transient=None, forgotten=True)
        said = f"{self._scheduler}: {status.state.name.lower()}" + (f" ({status.msg})" if status.msg else "")
        reason = None if self._scheduler == LOCAL or status.state is AppState.SUCCEEDED else said
        cancelled = reason is not None and status.state is AppState.CANCELLED  # by a person, as on Slurm
        return Word(running=not is_terminal(status.state), reason=reason, transient=False if cancelled else None)
