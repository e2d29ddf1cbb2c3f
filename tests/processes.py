"""Real processes in tests: waiting for what they do, finding those of this test's agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices import bundle
from profiles.errors import HwnasError, UnavailableError


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What ``condition`` gives once that is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s")


def reason_of(call: Callable[[], Any], kind: type[HwnasError] = UnavailableError) -> str:
    """The one line that ``call`` fails with."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def of_agent(word: str = "") -> list[int]:
    """Process ids of this test's agent; with "worker" or "resident", those of what it started as such."""
    agent = str(bundle.build_agent())
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (path / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if agent in arguments and word in ("", *arguments):
            found.append(int(path.name))
    return found
