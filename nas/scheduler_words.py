"""What schedulers say of jobs, as TorchX has it. Slurm is asked itself, see ``nas.slurm``."""

from __future__ import annotations

import math
import time

from torchx.runner import Runner
from torchx.specs import AppState, is_terminal

from nas.deadline import within
from nas.schedulers import LOCAL
from nas.training.outcome import Word

_NOT_FOUND = 404  # how Kubernetes says that a job was deleted
_ASK_S = 2.0  # a cluster is asked about a job at most this often
_ANSWER_S = 30.0
_LEAVE_S = 120.0  # one that gave no answer in time is left alone for so long


class Words:
    def __init__(self, runner: Runner, scheduler: str) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._asked: dict[str, tuple[float, Word | None]] = {}  # handle -> when (monotonic s), and the answer
        self._left_until = -math.inf

    def word(self, handle: str) -> Word | None:
        """What it says, of a cluster's job at most ``_ASK_S`` ago; ``None`` where it does not answer now."""
        if self._scheduler == LOCAL:
            return self._ask(handle)
        when, word = self._asked.get(handle, (-math.inf, None))
        if time.monotonic() - when > _ASK_S:
            word = self._ask(handle)
            self._asked[handle] = time.monotonic(), word
        return word

    def _ask(self, handle: str) -> Word | None:
        forgotten = f"{self._scheduler} no longer knows the job"
        try:
            if self._scheduler == LOCAL:
                status = self._runner.status(handle)
            elif time.monotonic() < self._left_until:
                return None
            else:
                status = within(_ANSWER_S, lambda: self._runner.status(handle))
        except TimeoutError:
            self._left_until = time.monotonic() + _LEAVE_S
            return None
        except Exception as error:
            if getattr(error, "status", None) == _NOT_FOUND:
                return Word(running=False, reason=forgotten, transient=None, forgotten=True)
            return None
        if status is None:
            return Word(running=False, reason=forgotten, transient=None, forgotten=True)
        if self._scheduler == LOCAL:
            return Word(running=not is_terminal(status.state), transient=None)
        said = f"{self._scheduler}: {status.state.name.lower()}" + (f" ({status.msg})" if status.msg else "")
        reason = None if status.state is AppState.SUCCEEDED else said
        cancelled = status.state is AppState.CANCELLED  # by a person, as on Slurm
        return Word(running=not is_terminal(status.state), reason=reason, transient=False if cancelled else None)
