"""What a person is told of a cluster that keeps a search waiting: it is silent, or a job does not run."""

from __future__ import annotations

import time
from collections.abc import Callable

_SILENT_S = 300.0
_IDLE_S = 600.0  # told after so long, then after twice that, four times, ...


class Waiting:
    """``tell``: a line at a time, and not the same one again and again."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._silent_since: float | None = None  # monotonic s of the first look without an answer
        self._told_silent = False
        self._next_idle_s = _IDLE_S

    def look(self, *, answered: bool | None, idle_s: float | None, why: Callable[[], str]) -> None:
        """``answered``: whether there was an answer about any job, ``None`` where nobody asked. ``idle_s``: how long
        the first of the jobs that are queued or suspended has waited, ``None`` where there are none; ``why`` asks about
        that one.
        """
        now = time.monotonic()
        if answered is False:
            self._silent_since = self._silent_since or now
            if not self._told_silent and now - self._silent_since > _SILENT_S:
                self._tell(f"the scheduler has not answered for {_SILENT_S / 60:g} minutes; its jobs are waited for")
                self._told_silent = True
        else:
            if answered and self._told_silent:
                self._tell("the scheduler answers again")
            self._silent_since, self._told_silent = None, False
        if idle_s is None:
            self._next_idle_s = _IDLE_S
        elif idle_s > self._next_idle_s:
            reason = why() or "no reason given"
            self._tell(f"a job has waited, queued or suspended, for {idle_s / 60:.0f} minutes: {reason}")
            self._next_idle_s = 2 * idle_s
