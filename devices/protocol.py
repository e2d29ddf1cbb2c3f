"""JSON lines between host, agent and worker.

A request is one line {"id": 1, "op": "latency", "deadline_s": 60, ...}. The answer is any number of events
{"id": 1, "event": "started", ...} and then one final record: {"id": 1, "done": true, ...} or
{"id": 1, "error": {"kind": "InputError", "message": "..."}}. Lines that are none of these are not ours and are skipped.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from profiles import errors
from profiles.errors import HwnasError, MeasurementError

Record = dict[str, Any]

_LONGEST_OTHER = 1 << 16  # bytes of a line that is none of ours


def take_stdout() -> int:
    """Keep the real stdout for the protocol: a duplicate of it, while everything that prints now goes to stderr."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def write(fd: int, record: Record) -> None:
    """One whole line. Raises BrokenPipeError where nobody reads any more."""
    write_all(fd, json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def is_record(line: bytes) -> bool:
    return line.lstrip().startswith(b'{"id":')


def is_final(line: bytes) -> bool:
    """Without reading the whole of it: it may hold a million times."""
    return re.match(rb'\s*\{"id":\d+,"(?:done|error)":', line) is not None


def parse(line: bytes) -> Record | None:
    """The record in a line; ``None`` where it is something else, such as what a login shell prints."""
    if not is_record(line):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def failure(request_id: object, error: BaseException) -> Record:
    """The final record of a request that ended in ``error``; one that is not ours counts as a failed measurement."""
    kind = type(error).__name__ if isinstance(error, HwnasError) else "MeasurementError"
    text = " ".join(str(error).split())
    message = text if isinstance(error, HwnasError) else f"{type(error).__name__}: {text}"
    return {"id": request_id, "error": {"kind": kind, "message": message}}


def error(found: Any) -> HwnasError:
    """The inverse of ``failure``: the error in a final record."""
    if not isinstance(found, dict):
        return MeasurementError(f"the device answered {str(found)[:80]!r} instead of an error's kind and message")
    kind = getattr(errors, str(found.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, HwnasError)):
        kind = MeasurementError
    return kind(str(found.get("message", "no reason given")))


class Lines:
    """Whole lines out of pieces as they arrive. What is too long and no record is dropped, however much of it comes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        lines: list[bytes] = []
        if b"\n" in data:
            *lines, data = bytes(self._rest + data).split(b"\n")
            self._rest.clear()
        self._rest += data
        if len(self._rest) > _LONGEST_OTHER and not is_record(bytes(self._rest[:_LONGEST_OTHER])):
            self._rest.clear()
        return lines
