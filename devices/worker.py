"""One fresh process for one operation: reads a request, does it, writes the answer, ends.

It dies with its agent: by the kernel's parent-death signal on Linux, by the end of its stdin anywhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import traceback

from devices import protocol
from profiles.errors import UnavailableError

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """``arguments``: the agent's process id."""
    output = protocol.take_stdout()
    die_with(int(arguments[0]))
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        answer = {"id": request["id"], "done": True, **_perform(request)}
        protocol.write(output, answer)
    except Exception as error:
        traceback.print_exc()
        protocol.write(output, protocol.failure(request["id"], error))
    # Engines take their time to free what the system frees anyway, and some crash in it.
    sys.stderr.flush()
    os._exit(0)


def _perform(request: protocol.Record) -> protocol.Record:
    if request["op"] == "health":
        from devices import health

        return health.describe(request)
    try:
        from devices import observe, passes, residents
    except ModuleNotFoundError as error:
        needed = f"{sys.executable} -m pip install {error.name}"
        raise UnavailableError(f"Python {sys.executable} has no {error.name}; there: {needed}") from None
    operations = passes.OPERATIONS | observe.OPERATIONS | residents.OPERATIONS
    operation = operations.get(request["op"])
    if operation is None:
        raise ValueError(f"no operation {request['op']!r}; there are: {', '.join(operations)}")
    return operation(request)


def die_with(parent: int) -> None:
    """End, also when stopped, as soon as the process that started this one ends (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that took hold
            os._exit(1)


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
