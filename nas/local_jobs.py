"""The processes of a training job on this machine, as its supervisor wrote them down: signalled, and ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from nas import lifeline
from nas.training.outcome import read_result
from profiles import files

_NUMBERS = ("pid", "pid_ticks", "pgid", "pgid_ticks")
_START_S = 2.0  # until a job that was just started says which processes are its own
_SLOW_START_S = 60.0  # likewise on a busy machine, while its supervisor lives


def job_of(out_dir: Path) -> dict[str, Any] | None:
    """The supervisor's ``job.json``; ``None`` where there is none, or another one: a script may write there."""
    job = files.read_json(out_dir / "job.json")
    return job if isinstance(job, dict) and {"host", *_NUMBERS} <= job.keys() else None


def signal_training(out_dir: Path, number: signal.Signals, lives: Callable[[], bool] = lambda: False) -> bool:
    """To the whole group. A job that was just started is given a moment to say which group that is.

    ``lives``: whether its supervisor does; then it is waited for, a minute at most.
    """
    begun = time.monotonic()
    while read_result(out_dir) is None:
        waited_s = time.monotonic() - begun
        over = waited_s > _START_S and not (waited_s < _SLOW_START_S and _not_said(out_dir) and lives())
        job = job_of(out_dir)  # last: it may have been written meanwhile
        if job is not None or over:
            return job is not None and _send(job, "pgid", number)
        time.sleep(0.005 if waited_s < _START_S else 0.1)
    return False


def _not_said(out_dir: Path) -> bool:
    """Another ``job.json``, a script's own, will not become the supervisor's any more."""
    return not (out_dir / "job.json").exists()


def _send(job: Mapping[str, Any], which: Literal["pid", "pgid"], number: signal.Signals) -> bool:
    """To a process group of this machine, if it is still the one that the job wrote down.

    Its leader may have ended: the kernel gives that number to no other process while the group has members.
    """
    if job["host"] != socket.gethostname() or lifeline.start_ticks(job[which]) not in (None, job[f"{which}_ticks"]):
        return False
    try:
        os.killpg(job[which], number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill(out_dir: Path) -> None:
    """End what may be left of a local job and wait for it: it must not write into the folder of a new one."""
    job = job_of(out_dir)
    if job is None or job["host"] != socket.gethostname():
        return
    _send(job, "pgid", signal.SIGKILL)
    _send(job, "pid", signal.SIGKILL)
    deadline = time.monotonic() + _START_S
    while lifeline.start_ticks(job["pid"]) == job["pid_ticks"] and time.monotonic() < deadline:
        time.sleep(0.01)
