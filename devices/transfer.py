"""The host's side of ``devices.depot``: files to a device that does not share ours, and back."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from devices.depot import PIECE
from profiles.records import digest_of

Request = Callable[..., dict[str, Any]]  # Session.request
_PIECE_S = 120.0  # for one piece on its way: 100 kbit/s
_LEAST_S, _READ_PER_S = 120.0, 5e6  # for a device to read a file once more: a slow SD card


def send(request: Request, path: Path, beside: Sequence[Path] = ()) -> str:
    """The path on the device of an equal ``path``, with those ``beside`` it (in or below its folder) beside it.

    Raises UnavailableError where the device has no room for them.
    """
    path = placed(path, beside)
    parts = parts_of(path, beside)
    digests = {name: sha256(part) for name, part in parts.items()}
    key = key_of(digests)
    folder = request("have", key=key)["folder"]
    if folder is None:
        for name, part in parts.items():
            with part.open("rb") as file:
                for offset in range(0, max(1, part.stat().st_size), PIECE):
                    data = base64.b64encode(file.read(PIECE)).decode()
                    request("put", key=key, name=name, offset=offset, data=data, start_s=_PIECE_S)
        size = sum(part.stat().st_size for part in parts.values())
        folder = request("keep", key=key, files=digests, deadline_s=_LEAST_S + size / _READ_PER_S)["folder"]
    return f"{folder}/{path.name}"


def placed(path: Path, beside: Sequence[Path] = ()) -> Path:
    """``path``, absolute, under the name beside which those ``beside`` it lie: its own or, of a link, its file's."""
    names = [path.absolute(), path.resolve()]
    fit = [name for name in names if all(part.is_relative_to(name.parent) for part in beside)]
    # Both may fit: latest.onnx is a link to run1/model.onnx, with its weights in run1.
    return max(fit, key=lambda name: len(name.parts), default=names[1]) if beside else names[0]


def parts_of(path: Path, beside: Sequence[Path]) -> dict[str, Path]:
    """Name below the folder of ``path`` (as ``placed`` gives it) -> file, for it and those ``beside`` it."""
    return {part.relative_to(path.parent).as_posix(): part.resolve() for part in (path, *beside)}


def key_of(digests: Mapping[str, str]) -> str:
    """What names such files on a device, from their sha256 by name."""
    return digest_of(dict(digests))[:32]


def receive(request: Request, there: str, path: Path) -> None:
    """Move the file ``there`` to ``path``."""
    with path.open("wb") as file:
        while data := base64.b64decode(request("get", path=there, offset=file.tell())["data"]):
            file.write(data)


def sha256(path: Path) -> str:
    """Of the file; computed once for each state of it."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(maxsize=1024)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def client() -> str:
    """Who asks, for the messages of those who wait: ``user@machine``."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in the password file
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
