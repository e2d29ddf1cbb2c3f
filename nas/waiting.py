"""What a person is told of a cluster that keeps a search waiting: it is silent, or its queue does not move."""

from __future__ import annotations

import time
from collections.abc import Callable

_SILENT_S = 300.0
_QUEUED_S = 600.0  # told after so long, then after twice that, four times, ...


class Waiting:
    """``tell``: a line at a time, and not the same one again and again."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._answered_at: float | None = None  # monotonic s
        self._told_silent = False
        self._next_queued_s = _QUEUED_S

    def look(self, *, answered: bool | None, queued_s: float | None, why_queued: Callable[[], str]) -> None:
        """``answered``: whether there was an answer about any job, ``None`` where nobody asked. ``queued_s``: how long
        the first of those that have not begun has waited, ``None`` where there are none; ``why_queued`` asks about that
        one.
        """
        now = time.monotonic()
        if answered and self._told_silent:
            self._tell("the scheduler answers again")
        if answered is not False or self._answered_at is None:
            self._answered_at, self._told_silent = now, False
        elif not self._told_silent and now - self._answered_at > _SILENT_S:
            self._tell(f"the scheduler has not answered for {_SILENT_S / 60:g} minutes; its jobs are waited for")
            self._told_silent = True
        if queued_s is None:
            self._next_queued_s = _QUEUED_S
        elif queued_s > self._next_queued_s:
            why = why_queued()
            self._tell(f"a job has waited in the queue for {queued_s / 60:.0f} minutes{': ' if why else ''}{why}")
            self._next_queued_s = 2 * queued_s
