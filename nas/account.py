"""Where the wall time of a search went: spans by kind, and the time that none of the useful ones covers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Span = tuple[float, float]

USEFUL = ("training", "measuring")


class Account:
    """Spans in seconds of a monotonic clock. A span that is open when asked counts until now."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._spans: dict[str, list[Span]] = {}
        self._open: dict[tuple[str, object], float] = {}
        self.jobs_stopped_s = 0.0  # summed over jobs

    @contextmanager
    def span(self, kind: str) -> Iterator[None]:
        key = object()
        self.begin(kind, key)
        try:
            yield
        finally:
            self.end(kind, key)

    def begin(self, kind: str, key: object, since: float | None = None) -> None:
        """``since``: of what was under way before (monotonic s); before this account nothing counts."""
        self._open[kind, key] = time.monotonic() if since is None else max(since, self._start)

    def end(self, kind: str, key: object) -> None:
        """Nothing happens where there was no such begin."""
        begun = self._open.pop((kind, key), None)
        if begun is not None:
            self._spans.setdefault(kind, []).append((begun, time.monotonic()))

    def summary(self) -> dict[str, float]:
        """Seconds: ``wall_s``, ``<kind>_s`` as a union of spans, ``idle_s`` = neither a job nor a measurement ran."""
        now = time.monotonic()
        spans = {kind: list(list_) for kind, list_ in self._spans.items()}
        for (kind, _), begun in self._open.items():
            spans.setdefault(kind, []).append((begun, now))
        wall = now - self._start
        useful = covered([span for kind in USEFUL for span in spans.get(kind, [])])
        sums = {f"{kind}_s": covered(list_) for kind, list_ in sorted(spans.items())}
        job_s = sum(end - begin for begin, end in spans.get("training", []))
        return {"wall_s": wall, **sums, "idle_s": wall - useful, "jobs_s": job_s, "jobs_stopped_s": self.jobs_stopped_s}


def covered(spans: Sequence[Span]) -> float:
    """Length of the union."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def add(accounts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The sum over the sessions of a search that was resumed."""
    keys = {key for account in accounts for key in account}
    return {key: sum(account.get(key, 0.0) for account in accounts) for key in sorted(keys)}
