"""Files that are either whole or absent: write beside, sync, rename.

A reader never sees half a file, whatever kills the writer. A failed write (a full disk, no
permission) leaves the old file as it was and no temporary one behind.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data`` atomically; where it is a symbolic link, the file that it leads to.

    A file keeps its mode, a new one gets 0644. Raises OSError; then ``path`` is as it was, or whole and new where only
    its folder could not be synced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mode = 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


def sync(*paths: Path) -> None:
    """So that files, or the names in folders, survive a power cut; on systems that know how to. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno in _LOST:  # else a file system that knows no fsync, as many network folders
                raise
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """NaN and infinity are refused (ValueError): what was not measured is ``null``."""
    write_text(path, json.dumps(value, allow_nan=False, indent=1) + "\n")


def read_json(path: Path) -> Any | None:
    """The value, or ``None`` where the file is absent or not JSON (half written by something else)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None


def read_text(path: Path) -> str | None:
    """The text, or ``None`` where the file is absent or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
