"""Work for many devices at once: all of them in parallel, one piece at a time on each.

    works = [Work(key=name, boards=fleet.boards("pi5"), call=lambda session: ...), ...]
    for outcome in run(works, lambda board: connect(fleet.devices[board], board)):
        ...

Boards of one pool share the work. A measurement that fails is tried again, then on another board of the pool. A board
that goes away is set aside, asked again with growing pauses, and taken back when it answers; what it was doing waits
for a board again. Whoever iterates keeps each outcome as it comes: nothing else is needed to go on after a crash.
"""

from __future__ import annotations

import contextlib
import math
import queue
import resource
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from devices.lines import Item, Lines, Work
from devices.session import OnEvent, Session
from profiles.errors import HwnasError, InputError, MeasurementError, ParityError, UnavailableError

Connect = Callable[[str, OnEvent], Session]
_LONGEST_PAUSE_S = 30.0
_END_S = 5.0
_FILES, _FILES_OF_SESSION = 256, 8  # open at once: four of a session, and as many of another while it is started
_AHEAD = 100  # outcomes that may wait for the caller; then boards wait for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``board``: the one it came from, the last one tried where there is an ``error``."""

    key: Any
    board: str
    value: Any = None
    error: HwnasError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    tries: int = 2  # of a measurement that fails, on each board
    losses: int = 5  # how often the connection may end during one piece of work before that is to blame
    patience_s: float = 300.0  # how long a board may be away before what only it can do has failed
    first_patience_s: float | None = None  # likewise for one that has not answered yet; None: as long
    first_pause_s: float = 1.0  # before a board that is away is asked again; doubled each time, at most 30 s


def run(
    works: Sequence[Work],
    connect: Connect,
    *,
    policy: Policy | None = None,
    on_event: OnEvent | None = None,
    sessions: dict[str, Session] | None = None,
) -> Generator[Outcome, None, None]:
    """Outcomes as they come, one for each of ``works``. ``on_event`` is told, always in the caller's thread, of what
    sessions tell and of "board": {"device", "state": connecting|ready|away|done, "reason"} and "work": {"device",
    "key"}. Closing the iterator, or an error in the caller, ends all sessions and what they measure.

    ``sessions``: board -> a session that is open; used, and at the end those that are still open are left in it.
    Without it all sessions are closed at the end.
    """
    _allow_files(len({board for work in works for board in work.boards}))
    told: queue.SimpleQueue[Outcome | tuple[str, dict[str, Any]]] = queue.SimpleQueue()
    hall = _Hall(works, connect, policy or Policy(), told.put, sessions)
    left = len(works)
    try:
        hall.open()
        while left:
            found = told.get()
            if isinstance(found, Outcome):
                hall.room.release()
                left -= 1
                yield found
            elif on_event:
                on_event(*found)
    finally:
        hall.close(abort=left > 0)


def _allow_files(boards: int) -> None:
    """Raise this process's own limit of open files, mostly 1024, as far as that many sessions need and it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_FILES + _FILES_OF_SESSION * boards, math.inf if hard == resource.RLIM_INFINITY else hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # then boards that find no room are away until others have gone
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(wanted), hard))


class _Hall:
    """A thread for each board, and their sessions, which ``_lock`` guards."""

    def __init__(
        self,
        works: Sequence[Work],
        connect: Connect,
        policy: Policy,
        tell: Callable[[Any], None],
        kept: dict[str, Session] | None,
    ) -> None:
        self._kept = kept
        self._connect = connect
        self._policy = policy
        self._tell = tell
        self.room = threading.Semaphore(_AHEAD)  # for outcomes that the caller has not taken yet
        self._lock = threading.Lock()
        self._lines = Lines(works, policy.tries)
        self._answered: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._closing = threading.Event()
        self._aborted = False
        self._threads = [
            threading.Thread(target=self._serve, args=(board,), daemon=True) for board in self._lines.boards
        ]

    def open(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self, *, abort: bool) -> None:
        """``abort``: also end what is being measured."""
        with self._lock:
            self._closing.set()
            self._aborted = abort
            for session in self._sessions.values() if abort else ():
                session.abort()
        self._lines.close()
        self.room.release(max(1, len(self._threads)))  # those that wait for room; none waits from here on
        end = time.monotonic() + _END_S
        for thread in self._threads:
            with contextlib.suppress(RuntimeError):  # Ctrl-C in ``open``: one that starts now finds all closed
                thread.join(max(0.0, end - time.monotonic()))

    def _serve(self, board: str) -> None:
        """The life of one board: a session, work until there is none, and a new session whenever one was lost."""
        session = self._take_over(board)
        try:
            while (item := self._lines.next(board)) is not None:
                if session is None or session.closed:
                    self._lines.back(item)  # for another board of the pool, while this one is being reached
                    session = self._reach(board)
                else:
                    self._do(board, session, item)
        finally:
            with self._lock:
                self._sessions.pop(board, None)
            if session is not None:
                if self._kept is None or self._aborted:
                    session.close()
                else:
                    self._kept[board] = session
            self._state(board, "done")

    def _take_over(self, board: str) -> Session | None:
        session = self._kept.pop(board, None) if self._kept is not None else None
        if session is not None:
            session.on_event = self._event
            with self._lock:
                self._answered.add(board)
                self._sessions[board] = session
        return session

    def _reach(self, board: str) -> Session | None:
        """A session, however long it takes while there is work that waits for this board."""
        start, pause_s = time.monotonic(), self._policy.first_pause_s
        self._state(board, "connecting")
        while not self._closing.is_set() and self._lines.wanted(board):
            try:
                session = self._connect(board, self._event)
            except Exception as raised:  # no descriptor left, for example: the others must not wait for ever
                error = raised if isinstance(raised, HwnasError) else _unreached(board, raised)
                self._state(board, "away", str(error))
                if isinstance(error, InputError) or time.monotonic() - start > self._patience_s(board):
                    self._give_up(board, error)
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            self._lines.take_back(board)
            with self._lock:
                self._answered.add(board)
                self._sessions[board] = session
                if self._aborted:
                    session.abort()
            self._state(board, "ready")
            return session
        return None

    def _patience_s(self, board: str) -> float:
        first_s = self._policy.first_patience_s
        return self._policy.patience_s if first_s is None or board in self._answered else first_s

    def _do(self, board: str, session: Session, item: Item) -> None:
        self._tell(("work", {"device": board, "key": item.work.key}))
        try:
            outcome = Outcome(key=item.work.key, board=board, value=item.work.call(session))
        except HwnasError as error:
            item.error = error
            if session.closed:
                item.losses += 1
                self._state(board, "away", str(error))
            else:
                whole = not isinstance(error, MeasurementError)  # it will not be better next time on this board
                item.failures[board] += self._policy.tries if whole else 1
            hopeless = isinstance(error, (InputError, ParityError)) or item.losses > self._policy.losses
            if self._closing.is_set():
                return
            if not hopeless and self._lines.any_left(item):
                self._lines.back(item)
                return
            outcome = Outcome(key=item.work.key, board=board, error=error)
        except Exception as error:  # a bug in `call` must not leave the caller waiting
            crash = MeasurementError(f"{type(error).__name__}: {error}")
            outcome = Outcome(key=item.work.key, board=board, error=crash)
        self._finish(item, outcome)

    def _finish(self, item: Item, outcome: Outcome) -> None:
        self._lines.done(item)
        if not self._closing.is_set():
            self.room.acquire()
        self._tell(outcome)

    def _give_up(self, board: str, error: HwnasError) -> None:
        """What no other board can do has failed; this one is asked on as long as others work."""
        for item in self._lines.give_up(board):
            reason = item.error or error
            self._finish(item, Outcome(key=item.work.key, board=board, error=reason))

    def _event(self, kind: str, data: dict[str, Any]) -> None:
        self._tell((kind, data))

    def _state(self, board: str, state: str, reason: str = "") -> None:
        self._tell(("board", {"device": board, "state": state, "reason": reason}))


def _unreached(board: str, error: Exception) -> HwnasError:
    return UnavailableError(f"device {board}: {type(error).__name__}: {error}")
