"""A night as it happens: a live display on a terminal, plain lines where stderr is piped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.live import live, told_of_pass
from benchmarks.nightly import words
from benchmarks.nightly.judgements import Judgement, counted
from benchmarks.pages.words import label
from benchmarks.tables import duration
from devices.session import OnEvent

_STAGES = {"first": "judging", "longer": "longer duets for what is open", "confirm": "confirming alarms"}
_WIDTH = 80


@contextmanager
def shown() -> Iterator[OnEvent]:
    """A listener for ``nightly.watch`` that draws on stderr until the block ends."""
    view = _View()
    with live(view.draw) as tell:
        yield lambda kind, data: tell(view.hear(kind, data))


class _View:
    """What the events add up to."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stage = "setting up"
        self._pairs = self._done = 0
        self._judgements: dict[tuple[str, str, str], Judgement] = {}
        self._doing: dict[str, str] = {}  # device -> what
        self._waited: set[str] = set()  # what was said of waiting, each once

    def hear(self, kind: str, data: Mapping[str, Any]) -> list[str]:
        """Take the event in; lines for those that a person may want to scroll back to."""
        match kind:
            case "night":
                going_on = "going on with night" if data["resumed"] else "night"
                return [f"{going_on} {data['night']}: {data['pairs']} pairs of model and target"]
            case "stage":
                self._stage, self._pairs, self._done = _STAGES[data["stage"]], data["pairs"], 0
                return [f"{self._stage}: {data['pairs']} pairs"] if data["pairs"] and data["stage"] != "first" else []
            case "judged":
                self._done += 1
                self._judgements |= {one.key: one for one in data["judgements"]}
                return [_line(one) for one in counted(data["judgements"])]
            case "unprofiled":
                return [f"{data['model']}: no profile for the history: {data['reason']}"]
            case "waiting":
                said = f"{data['device']}: {str(data['message']).partition(', since')[0]}"
                first = said not in self._waited
                self._waited.add(said)
                return [said] if first else []
            case "pass":
                self._doing[data["device"]] = _pass(data)
            case "board":
                self._doing.pop(data["device"], None)
                return [f"{data['device']}: away: {data['reason']}"] if data["state"] == "away" else []
        return []

    def draw(self) -> Any:
        """At most 80 columns and a handful of lines."""
        from rich.table import Table

        found = words.summary(self._judgements.values()) or "nothing yet"
        rows = [
            (
                "pairs",
                f"{self._done} of {self._pairs}, {self._stage}; {duration(time.monotonic() - self._began)} so far",
            ),
            ("found", found),
            *(("now", f"{device}: {what}") for device, what in sorted(self._doing.items())[:6]),
        ]
        grid = Table.grid(padding=(0, 2))
        for name, text in rows:
            grid.add_row(name, text[: _WIDTH - 8])
        return grid


def _line(one: Judgement) -> str:
    what = f"{one.model} on {one.target}: {label(one.metric)} {one.verdict}"
    if one.ratio is not None:
        what += f", {words.change(one)}" + (f" ({words.interval(one)})" if one.interval else "")
    return f"{what}: {one.reason}" if one.reason else what


def _pass(data: Mapping[str, Any]) -> str:
    line = told_of_pass(data)
    if "verdict" in data:
        line += f", {100 * (data['ratio'] - 1):+.2f} %, {data['verdict']} so far"
    return line
