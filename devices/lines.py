"""Works that wait for boards: which board takes which next, and which of them no board is left for.

Works that the same boards may do stand in one line. Safe to use from the threads of all boards.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from devices.session import Session
from profiles.errors import HwnasError


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One piece: ``call`` is run with a session of one of ``boards``, whose ``name`` says which, in a thread of that
    board. What it returns is the value of the outcome; it must leave nothing behind when it raises.
    """

    key: Any
    boards: Sequence[str]
    call: Callable[[Session], Any]


@dataclass(slots=True)
class Item:
    """A work and what became of it so far; it belongs to the board that took it, until that gives it back."""

    work: Work
    failures: Counter[str] = field(default_factory=Counter)  # board -> tries there
    losses: int = 0
    error: HwnasError | None = None


@dataclass(slots=True)
class _Line:
    waiting: deque[Item] = field(default_factory=deque)
    open: int = 0  # waiting, or being done


class Lines:
    """``tries``: of one work on each board; a board that has used them up does not get it again."""

    def __init__(self, works: Sequence[Work], tries: int) -> None:
        self._tries = tries
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, ...], _Line] = {}
        for work in works:
            line = self._lines.setdefault(tuple(work.boards), _Line())
            line.waiting.append(Item(work))
            line.open += 1
        self.boards = tuple(dict.fromkeys(board for boards in self._lines for board in boards))
        self._bells = {board: threading.Condition(self._lock) for board in self.boards}
        self._given_up: set[str] = set()
        self._closed = False

    def next(self, board: str) -> Item | None:
        """The next piece for ``board``, waiting while another board may still give one back; ``None``: no more."""
        with self._lock:
            while not self._closed:
                mine = [line for boards, line in self._lines.items() if board in boards and line.open]
                for line in mine:
                    for place, item in enumerate(line.waiting):
                        if item.failures[board] < self._tries:
                            del line.waiting[place]
                            return item
                if not mine:
                    return None
                self._bells[board].wait()
        return None

    def wanted(self, board: str) -> bool:
        """Whether anything waits that ``board`` may do."""
        with self._lock:
            return any(
                item.failures[board] < self._tries
                for boards, line in self._lines.items()
                if board in boards
                for item in line.waiting
            )

    def back(self, item: Item) -> None:
        """For whichever of its boards comes first, before all others."""
        with self._lock:
            boards = tuple(item.work.boards)
            self._lines[boards].waiting.appendleft(item)
            self._ring(boards)

    def done(self, item: Item) -> None:
        with self._lock:
            boards = tuple(item.work.boards)
            self._lines[boards].open -= 1
            if not self._lines[boards].open:
                self._ring(boards)

    def any_left(self, item: Item) -> bool:
        """Whether any board may still do it."""
        with self._lock:
            return self._any_left(item)

    def give_up(self, board: str) -> list[Item]:
        """What now no board is left for, out of its line, for the caller to end. Until ``take_back``."""
        lost = []
        with self._lock:
            self._given_up.add(board)
            for boards, line in self._lines.items():
                gone = [item for item in line.waiting if board in boards and not self._any_left(item)]
                for item in gone:
                    line.waiting.remove(item)
                lost += gone
        return lost

    def take_back(self, board: str) -> None:
        with self._lock:
            self._given_up.discard(board)

    def close(self) -> None:
        """No board gets any more."""
        with self._lock:
            self._closed = True
            self._ring(self.boards)

    def _any_left(self, item: Item) -> bool:
        return any(item.failures[board] < self._tries and board not in self._given_up for board in item.work.boards)

    def _ring(self, boards: Sequence[str]) -> None:
        for board in boards:
            self._bells[board].notify_all()
