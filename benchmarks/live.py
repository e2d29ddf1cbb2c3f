"""What a command shows while it works: a live display on a terminal, plain lines where stderr is piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from benchmarks.tables import duration


class Tell(Protocol):
    """Lines that stay, and the display drawn anew; unless ``at_once``, not when that was done a moment ago."""

    def __call__(self, lines: Iterable[str] = (), *, at_once: bool = True) -> None: ...


def told_of_pass(data: Mapping[str, Any]) -> str:
    """Of the event "pass": 'resnet8: latency, process 3 of 5'."""
    line = f"{data['model']}: {data['pass']}"
    if data["of"] != 1:
        line += f", process {data['number'] + 1}" + (f" of {data['of']}" if data["of"] else "")
    return line


@contextmanager
def live(draw: Callable[[], Any], *, pause_s: float = 0.5, stamped: bool = True) -> Iterator[Tell]:
    """A display on stderr until the block ends. ``draw`` gives it, at most 80 columns wide; ``pause_s`` is that moment.

    ``stamped``: where stderr is piped, lines begin with the time since the start.
    """
    from rich.console import Console

    # Texts are as they are: names of models and what devices say may look like markup.
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        yield _lines(stamped)
        return
    from rich.live import Live

    # Drawn when an event comes, never by a timer: while something is measured, this process must sleep.
    with Live(draw(), console=console, auto_refresh=False, transient=True) as display:
        drawn = 0.0

        def tell(lines: Iterable[str] = (), *, at_once: bool = True) -> None:
            nonlocal drawn
            for line in lines:
                display.console.print(line)
            if at_once or time.monotonic() - drawn > pause_s:
                display.update(draw(), refresh=True)
                drawn = time.monotonic()

        yield tell


def _lines(stamped: bool) -> Tell:
    began = time.monotonic()

    def tell(lines: Iterable[str] = (), *, at_once: bool = True) -> None:
        for line in lines:
            stamp = f"[{duration(time.monotonic() - began):>12}] " if stamped else ""
            print(f"{stamp}{line}", file=sys.stderr, flush=True)

    return tell
