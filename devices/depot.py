"""Files on a device that does not share those of the host: kept by their content, so that each is sent once.

    ~/.cache/hwnas/files/<key>/<name>    ``key``: digest of a file, those beside it, and their names
    ~/.cache/hwnas/out/<name>            what a worker wrote, until the host has taken it
    ~/.cache/hwnas/measured.jsonl        who measured what here, and when; the last two thousand or so

A file arrives in pieces beside its place, is compared with its digest and then renamed: a cut connection or a full disk
leaves no half file under a key. What was not asked for during a day is removed when something new comes, and so are
agents of other versions of hwnas after a week.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from devices.protocol import Record
from profiles.errors import InputError, UnavailableError
from profiles.files import sync

PIECE = 1 << 20
_KEPT_S = 24 * 3600.0
_AGENT_KEPT_S = 7 * _KEPT_S  # those of older versions mark their file when they start, and not that they run
_LOG_BYTES = 512 * 1024


def folder() -> Path:
    """``$HWNAS_FOLDER``, which a transport sets, else that of the host's own cache."""
    return Path(os.environ.get("HWNAS_FOLDER") or cache_folder())


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"


def have(request: Record) -> Record:
    """``key`` -> the ``folder`` that holds its files, ``None`` where they are not here."""
    place = folder() / "files" / _plain(request["key"])
    try:
        os.utime(place)
    except FileNotFoundError:
        return {"folder": None}
    return {"folder": str(place)}


def put(request: Record) -> Record:
    """One piece: ``data`` (base64) at ``offset`` of the file ``name`` that will belong to ``key``."""
    part = _part(request["key"])
    path = part / _inside(request["name"])
    data = base64.b64decode(request["data"])
    if not part.exists():
        _clean()
    try:
        with _room(len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if request["offset"] else "wb") as file:
                file.seek(request["offset"])
                file.write(data)
    except UnavailableError:
        shutil.rmtree(part, ignore_errors=True)  # what is smaller may still have room
        raise
    return {}


def keep(request: Record) -> Record:
    """All pieces have come. ``files``: name -> sha256, compared before ``key`` exists."""
    part, place = _part(request["key"]), folder() / "files" / _plain(request["key"])
    for name, expected in request["files"].items():
        if _sha256(part / _inside(name)) != expected:
            shutil.rmtree(part, ignore_errors=True)
            raise UnavailableError(f"{name}: arrived damaged; is the disk of the device sound?")
    try:
        with _room(0):
            sync(*part.rglob("*"), part)  # a board that loses its power would else keep empty files under that key
    except UnavailableError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    with contextlib.suppress(OSError):  # another session was faster: its files are the same
        part.rename(place)
        sync(place.parent)
    shutil.rmtree(part, ignore_errors=True)
    return {"folder": str(place)}


def place(request: Record) -> Record:
    """A ``path`` of its own for a worker to write to."""
    out = folder() / "out"
    with _room(0):
        out.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=out, suffix=_plain(request["name"]))
    os.close(handle)
    return {"path": path}


def get(request: Record) -> Record:
    """``data`` (base64) of ``path`` from ``offset``; empty at its end, and then the file is gone."""
    path = folder() / "out" / _plain(Path(request["path"]).name)
    with path.open("rb") as file:
        file.seek(request["offset"])
        data = file.read(PIECE)
    if not data:
        path.unlink()
    return {"data": base64.b64encode(data).decode()}


# Done by the agent itself: they need no numpy and no process of their own.
OPERATIONS: dict[str, Callable[[Record], Record]] = {"have": have, "put": put, "keep": keep, "place": place, "get": get}


def log(record: Record) -> None:
    """Add a line to ``measured.jsonl``; a device that cannot keep one measures all the same."""
    path = folder() / "measured.jsonl"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            os.replace(path, path.with_suffix(".old.jsonl"))
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(record).encode() + b"\n")


def forget_parts() -> None:
    """What this process has begun to take in and not kept: its connection has ended."""
    for part in (folder() / "files").glob(f"*.part-{os.getpid()}"):
        shutil.rmtree(part, ignore_errors=True)


def hold_agent(archive: str) -> IO[bytes] | None:
    """Mark the agent's file as used today, and as running while what this returns is open."""
    with contextlib.suppress(OSError):
        os.utime(archive)
        file = open(archive, "rb")  # noqa: SIM115 (the caller keeps it)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return file
    return None


def forget_agents(place: Path) -> None:
    """Remove the agents in the folder ``place`` that nobody started for a week and that do not run now, with what they
    unpacked beside themselves.
    """
    oldest, own = time.time() - _AGENT_KEPT_S, Path(sys.argv[0]).name  # a lock need not keep this very process away
    for path in place.glob("agent-*.pyz*"):  # also one that arrived in part
        with contextlib.suppress(OSError):
            if path.name != own and path.stat().st_mtime < oldest:
                with path.open("r+b") as file:  # to be written: NFS gives no exclusive lock else
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def _part(key: str) -> Path:
    return folder() / "files" / f"{_plain(key)}.part-{os.getpid()}"


def _sha256(path: Path) -> str:
    """In pieces: a board may have less memory than the file is long."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def _clean() -> None:
    oldest = time.time() - _KEPT_S
    for kind in ("files", "out"):
        for path in (folder() / kind).glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    forget_agents(folder())


@contextlib.contextmanager
def _room(size: int) -> Iterator[None]:
    """Turns the errors of a disk into a sentence about it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnavailableError(f"the disk of the device is full: no room for {size} bytes in {folder()}") from None
        raise UnavailableError(f"{folder()} on the device cannot be written: {error.strerror}") from None


def _plain(name: str) -> str:
    if not name or (name.startswith(".") and name.strip(".") == "") or "/" in name or "\0" in name:
        raise InputError(f"given {name!r}; accepted: a plain file name")
    return name


def _inside(name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"given {name!r}; accepted: a path inside its folder")
    return path
