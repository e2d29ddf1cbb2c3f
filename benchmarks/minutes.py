"""Work that is done for so many minutes and goes on in the next call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def over_after(minutes: float | None) -> Callable[[], bool]:
    """Whether so many have passed since this call; ``None``: it is never over."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return lambda: time.monotonic() > end
