"""How a device is reached: one file each, named as ``transport`` in the fleet file.

A transport is a module with a class ``Device``, a frozen pydantic model of the keys that a ``[devices.NAME]`` table may
hold beside ``transport``, with what is below.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, Protocol


class Device(Protocol):
    shares_files: ClassVar[bool]
    """It is this machine, or one with the same files under the same paths: nothing is sent to it, and its agent ends
    with the process that started it. To any other, files go through the agent, and so do signs of life."""

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        """Start the agent with unbuffered pipes at its stdin and stdout. Raises OSError or UnavailableError."""

    def explain(self, status: int | None, stderr: str) -> str:
        """Why the connection ended, in one line, from the exit status of what ``start`` started (``None``: it runs)
        and what that wrote to stderr; empty where nothing is known."""


def piped(command: Sequence[str], stderr: int, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """For ``Device.start``: with unbuffered pipes, and out of the terminal's reach: Ctrl-C there is for hwnas, which
    then ends what it started. Raises OSError.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        start_new_session=True,
        env=environment,
    )


def readable(stream: IO[bytes], left_s: float | None) -> bool:
    """Within ``left_s``; ``None``: however long it takes. ``select`` would refuse descriptors above 1023."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(None if left_s is None else 1000 * left_s))


def at_home(text: str) -> str:
    """A path here or the name of a program, its ~ expanded. Raises ValueError with what is accepted."""
    found = os.path.expanduser(text)
    if found.startswith("~"):
        raise ValueError("a path; this machine has no user of that name")
    return found


def last_line(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:]).strip()
