"""What jobs pass on through ``train.storage``, brought into the folders in which the controller looks for it.

To all others a job's folder is then one like any other: its files arrive a few seconds later.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nas.folder import FULL
from nas.training.outcome import RESULT, is_read, read_result
from nas.training.storage import CANDIDATE, JOB, SCRIPT, open_storage
from profiles import files
from profiles.errors import UnavailableError, one_line

ASK_S = 3.0  # a job's folder is looked at at most this often, and three times less often before the job has begun
_PATIENCE_S = 300.0  # without an answer, before the search ends until it is resumed
_AGAIN_S = 5.0


class Inbox:
    def __init__(self, url: str) -> None:
        """Raises InputError and UnavailableError as ``open_storage`` does."""
        self._storage = open_storage(url)
        self._marks: dict[str, dict[str, str]] = {}  # ticket -> file -> the mark of what was fetched
        self._looked: dict[str, float] = {}  # ticket -> when (monotonic s)
        self._silent_since: float | None = None

    def check(self) -> None:
        """Write, read and remove a file, as jobs will. Raises UnavailableError."""
        probe = f".hwnas-{secrets.token_hex(8)}"
        try:
            with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
                written, read = Path(scratch) / "written", Path(scratch) / "read"
                written.write_text(probe)
                self._storage.put(written, probe)
                self._storage.get(probe, read)
                self._storage.remove(probe)
        except Exception as error:
            raise self._failed(error) from error

    def place(self, ticket: str) -> str:
        """Of a job: its folder, as a URL."""
        return f"{self._storage.url}/{ticket or 'TICKET'}"  # without one in a dry run

    def send(self, ticket: str, candidate: Path, script: Path | None) -> None:
        """What a job needs. Waits for a storage that does not answer; raises UnavailableError after minutes of that."""

        def send() -> None:
            if script is not None:
                self._storage.put(script, f"{ticket}/{SCRIPT}")
            self._storage.put(candidate, f"{ticket}/{CANDIDATE}")

        self._insist(send)

    def fetch(self, out_dir: Path) -> bool:
        """Whether ``out_dir`` holds by now what its job had written some seconds ago.

        Raises UnavailableError where the storage has not answered for minutes, or the disk is full here.
        """
        ticket = _ticket(out_dir)
        result = read_result(out_dir)
        if ticket is None or (result is not None and result["exit_code"] == 0):  # the last file: all others are here
            return True
        pause_s = ASK_S if (out_dir / "job.json").exists() else 3 * ASK_S
        if time.monotonic() - self._looked.get(ticket, -math.inf) < pause_s:
            return self._silent_since is None
        self._looked[ticket] = time.monotonic()
        return self._answered(lambda: self._fetch(ticket, out_dir))

    def fetch_now(self, out_dir: Path) -> None:
        """As ``fetch``, waiting for a storage that does not answer."""
        if (ticket := _ticket(out_dir)) is not None:
            self._insist(lambda: self._fetch(ticket, out_dir))

    def forget(self, out_dir: Path) -> None:
        """Remove the job's folder in the storage: the job, if there still is one, then ends. What fails is left."""
        if (ticket := _ticket(out_dir)) is not None:
            with contextlib.suppress(Exception):
                self._storage.remove(ticket)

    def _insist(self, call: Callable[[], None]) -> None:
        while not self._answered(call):
            time.sleep(_AGAIN_S)

    def _answered(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise self._failed(error) from error
            self._silent_since = self._silent_since or time.monotonic()
            if time.monotonic() - self._silent_since > _PATIENCE_S:
                raise self._failed(error) from error
            return False
        self._silent_since = None
        return True

    def _failed(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"train.storage {self._storage.url}: {one_line(error)}")

    def _fetch(self, ticket: str, out_dir: Path) -> None:
        marks = self._marks.setdefault(ticket, {})
        found = self._storage.found(f"{ticket}/{JOB}")
        for name in sorted(found, key=lambda name: (name == RESULT, name)):
            if is_read(name) and marks.get(name) != found[name]:
                self._storage.get(f"{ticket}/{JOB}/{name}", out_dir / name)
                if name == "job.json":
                    self._date(f"{ticket}/{JOB}/{name}", out_dir / name)
                marks[name] = found[name]

    def _date(self, name: str, path: Path) -> None:
        """As the storage has it, where that says so: a job is as old as this file."""
        with contextlib.suppress(Exception):
            when = self._storage.system.modified(f"{self._storage.root}/{name}").timestamp()
            os.utime(path, (when, when))


def _ticket(out_dir: Path) -> str | None:
    """Of a job that was submitted; nothing else may name a folder that is removed."""
    found = files.read_text(out_dir / "ticket") or ""
    return found if re.fullmatch(r"[0-9a-f]{16}", found) else None
