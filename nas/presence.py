"""Which controllers of a study live: each counts up a number in the store, and the others see whether it moves.

No clock is compared with another: a controller is gone when its number has stood still for ``LEASE_S`` while this one
could read the store all the time, at once when it has signed off, and at once when it was a process of this machine
that is no more. A machine is a boot of a kernel and a namespace of process ids: a host's name may be given twice.
One that was only cut off and comes back finds its trials taken over, see ``nas.journal``.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from nas.lifeline import start_ticks
from profiles.errors import UnavailableError
from profiles.records import digest_of
from profiles.store import Store

BEAT_S = 10.0
LEASE_S = 60.0
_JOIN_S = 10.0  # a server that has fallen silent is not waited for

_NAME = re.compile(r"process (?P<pid>\d+) \((?P<ticks>\d+)\) on .+ \((?P<machine>[0-9a-f]+)\)")


def own_name() -> str:
    """Of this process: unique, and readable in messages."""
    ticks = start_ticks(os.getpid()) or 0
    return f"process {os.getpid()} ({ticks}) on {socket.gethostname()} ({_machine()})"


def same_machine(name: str | None) -> bool:
    match = _NAME.fullmatch(name or "")
    return match is not None and match["machine"] == _machine()


class Presence:
    """Signs on, and beats in a thread of its own until it is closed. Use it as a context manager."""

    def __init__(self, store: Store, study: str, me: str, *, beat_s: float = BEAT_S, lease_s: float = LEASE_S) -> None:
        self._store, self._study, self._me = store, study, me
        self._beat_s, self._lease_s = beat_s, lease_s
        self._seen: dict[str, tuple[int, float]] = {}  # name -> its number, and when that was first seen
        self._read_at = time.monotonic()
        self._lock = threading.Lock()
        self._signed_off = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def __enter__(self) -> Presence:
        return self

    def __exit__(self, *_: object) -> None:
        self._signed_off.set()
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():
            with suppress(UnavailableError):  # the others find out
                self._store.leave(self._study, self._me)

    def gone(self, name: str | None) -> bool:
        """Whether that controller will do no more."""
        if name == self._me:
            return False
        if name is None or _ended_here(name):
            return True
        if name not in self._seen:  # it signed off, or signed on since
            try:
                self._beat()
            except UnavailableError:
                return False
        seen = self._seen.get(name)
        return seen is None or self._read_at - seen[1] > self._lease_s

    def _go_on(self) -> None:
        while not self._signed_off.wait(self._beat_s):
            with suppress(Exception):  # whatever the database says: without beats this one would be taken for gone
                self._beat()

    def _beat(self) -> None:
        with self._lock:
            found = self._store.beat(self._study, self._me)
            now = time.monotonic()
            # After a while without the store, or in which this process was stopped, nothing can be said of the others.
            before = self._seen if now - self._read_at <= 3 * self._beat_s else {}
            self._seen = {
                name: before[name] if name in before and before[name][0] == beat else (beat, now)
                for name, beat in found.items()
            }
            self._read_at = now


def _ended_here(name: str | None) -> bool:
    match = _NAME.fullmatch(name or "")
    return (
        match is not None and match["machine"] == _machine() and start_ticks(int(match["pid"])) != int(match["ticks"])
    )


@cache
def _machine() -> str:
    """Where a process id and its start mean the same as here. Nowhere else, where the system does not say: random."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest_of([boot, os.readlink("/proc/self/ns/pid")])[:12]
    except OSError:
        return secrets.token_hex(6)
