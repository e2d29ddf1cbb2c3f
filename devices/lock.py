"""One measurement at a time on a machine: an flock that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import threading
from pathlib import Path

from profiles.clock import utc_now

_SIGNATURE = 300


def lock_path() -> Path:
    """``$HWNAS_LOCK``, else one file in /tmp for all users of the machine, logins, cron jobs and services alike."""
    if given := os.environ.get("HWNAS_LOCK"):
        return Path(given)
    folder = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    return folder / "hwnas.lock"


class Lock:
    def __init__(self, path: Path, client: str = "") -> None:
        """``client``: on whose behalf, for those who wait. Raises OSError where the file cannot be opened; a symbolic
        link is refused.
        """
        self._client = client
        self._file = _open(path)

    def try_acquire(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._sign()
        return True

    def wait(self) -> int:
        """A descriptor that becomes readable once the lock is ours. A thread blocks until then: no polling."""
        reader, writer = os.pipe()

        def acquire() -> None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._sign()
            os.close(writer)

        threading.Thread(target=acquire, daemon=True).start()
        return reader

    def release(self) -> None:
        """Give it back; this object is of no use afterwards."""
        os.close(self._file)

    def holder(self) -> str:
        """Who holds it, for a message."""
        return holder_of(os.pread(self._file, 1000, 0).decode(errors="replace"))

    def _sign(self) -> None:
        # Always as long, and so replaced in one write: a reader never finds it empty.
        text = json.dumps({"pid": os.getpid(), "since": utc_now(), "client": self._client[:80]}).ljust(_SIGNATURE)
        with contextlib.suppress(OSError):  # a full disk: whose it is then nobody learns, but it is held
            os.pwrite(self._file, text.encode(), 0)


def holder_of(text: str) -> str:
    """Who signed the lock's file, for a message. ``text``: what is in it."""
    try:
        holder = json.loads(text)
        client = holder.get("client")
        whose = f" for {client}" if client else ""
        return f"process {holder['pid']} on this machine{whose}, since {holder['since']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "another process on this machine"


def _open(path: Path) -> int:
    # Without O_CREAT first: in /tmp, Linux refuses to "create" a file that is there and another user's.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT, 0o666)
    with contextlib.suppress(PermissionError):  # another user was faster
        os.fchmod(file, 0o666)  # whatever the umask
    return file
