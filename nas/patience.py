"""How long a cluster that takes no job is asked again.

It may be restarting, or limit a user's jobs: what runs goes on meanwhile, and the job waits here. Before it has taken
a first one, the request itself is probably wrong, and waiting would only hide that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nas.launcher import Refused

LONGEST_S = 900.0  # without a job that is taken or runs
_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 60.0)  # pauses; the last one from then on
_TELL_S = 60.0  # what passes sooner need not be known


class Patience:
    """``tell``: one line when jobs have been refused for a while, and one when none waits any longer."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._took_any = False
        self._first_at: float | None = None  # monotonic s of the refusal since which some job has waited
        self._since: float | None = None  # likewise, since when none was taken or ran
        self._told = False
        self._took_last = False  # whether it has taken one since it last refused one
        self._refusals = 0
        self._again_at = 0.0

    @property
    def due(self) -> bool:
        """Whether to ask now."""
        return time.monotonic() >= self._again_at

    def took(self) -> None:
        self._took_any, self._took_last, self._since, self._refusals, self._again_at = True, True, None, 0, 0.0

    def room(self) -> None:
        """A job has ended: there may be room for another one."""
        self._again_at = 0.0

    def none_waits(self) -> None:
        if self._told and self._took_last:
            self._tell("the scheduler takes jobs again")
        self._first_at, self._since, self._told, self._refusals, self._again_at = None, None, False, 0, 0.0

    def refused(self, error: Refused, *, others_run: bool) -> None:
        """Raises it where there is no use in asking again. ``others_run``: jobs that it took, perhaps from another
        controller.
        """
        now = time.monotonic()
        self._took_any, self._took_last = self._took_any or others_run, False
        if self._since is None or others_run:
            self._since = now
        if not self._took_any or now - self._since > LONGEST_S:
            raise error
        self._first_at = self._first_at or now
        if not self._told and now - self._first_at >= _TELL_S:
            self._tell(f"{error}; asking again, for {LONGEST_S / 60:g} minutes or as long as other jobs run")
            self._told = True
        self._again_at = now + _AGAIN_S[min(self._refusals, len(_AGAIN_S) - 1)]
        self._refusals += 1
