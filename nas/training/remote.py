"""A training job on a node that shares no file system with its controller: fetches what it needs, runs
``nas.training.job`` in a scratch folder, and sends what that writes.

    python -m nas.training.remote STORAGE/TICKET SCRIPT [--app-id TEXT]

SCRIPT is "default", or the name of a file in that folder. Where candidate.json is gone there is nothing to do, or no
more: its controller gave the job up, or has submitted another in its place.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nas.training.job import DEFAULT
from nas.training.outcome import RESULT, is_read
from nas.training.storage import CANDIDATE, JOB, Storage, open_storage
from profiles.errors import HwnasError, one_line

_FIRST_S, _EVERY_S = 1.0, 10.0  # files are sent that long after the start, and again and again
_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)  # pauses of the last time, where that fails
_AT_THE_END = ("weights.pt", "metrics.json", RESULT)  # a script may write the first two many times
_UNWANTED = "no job is here, or none any more: its controller has ended it, or this is not its train.storage"
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="nas.training.remote")
    parser.add_argument("storage", help="the job's own folder, a URL")
    parser.add_argument("script")
    parser.add_argument("--app-id", help="what the scheduler calls this job")
    options = parser.parse_args(arguments)
    try:
        storage = open_storage(options.storage)
        with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
            return _run(storage, Path(scratch), options.script, options.app_id)
    except HwnasError as error:
        print(f"hwnas: {error}", file=sys.stderr)
        return error.exit_code


def _run(storage: Storage, scratch: Path, script: str, app_id: str | None) -> int:
    """The training's exit code; 1 where nothing was begun, or where what it wrote could not be sent."""
    try:
        for name in (CANDIDATE, *([] if script == DEFAULT else [script])):
            storage.get(name, scratch / name)
    except FileNotFoundError:
        print(f"{storage.url}: {_UNWANTED}", file=sys.stderr)
        return 1
    except Exception as error:
        print(f"{storage.url}: {one_line(error)}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "nas.training.job", str(scratch / CANDIDATE), str(scratch / JOB)]
    command.append(DEFAULT if script == DEFAULT else str(scratch / script))
    command += ["--die-with", str(os.getpid()), *(["--app-id", app_id] if app_id else [])]
    child = subprocess.Popen(command)
    for number in _ENDING:  # the supervisor decides what they mean; this process still has to send what it wrote
        signal.signal(number, lambda received, frame: child.send_signal(received))
    outbox = _Outbox(storage, scratch / JOB)
    pause_s = _FIRST_S
    while True:
        try:
            code = child.wait(pause_s)
            break
        except subprocess.TimeoutExpired:
            pause_s = _EVERY_S
        if outbox.wanted():
            outbox.send(_follows)
        else:
            print(f"{storage.url}: {_UNWANTED}", file=sys.stderr)
            child.terminate()
            child.wait()
            return 1
    for pause_s in (0.0, *_AGAIN_S):
        time.sleep(pause_s)
        # The result after all others, since it says that they are complete.
        if outbox.send(lambda name: name != RESULT) and outbox.send(lambda name: name == RESULT):
            return code if code >= 0 else 128 - code
    return 1


def _follows(name: str) -> bool:
    """Whether a file is sent while the training runs."""
    return name not in _AT_THE_END


class _Outbox:
    def __init__(self, storage: Storage, folder: Path) -> None:
        self._storage = storage
        self._folder = folder
        self._sent: dict[str, tuple[int, int]] = {}  # name -> size and time of what was sent

    def wanted(self) -> bool:
        """Whether the controller still waits for this job; also where the storage does not answer."""
        try:
            return self._storage.has(CANDIDATE)
        except Exception:
            return True

    def send(self, which: Callable[[str], bool]) -> bool:
        """What is new of those files. Whether all of it was taken."""
        try:
            for path in sorted(self._folder.rglob("*")):
                name = str(path.relative_to(self._folder))
                if not (is_read(name) and which(name) and path.is_file()):
                    continue
                about = path.stat()
                mark = (about.st_size, about.st_mtime_ns)
                if self._sent.get(name) != mark:
                    self._storage.put(path, f"{JOB}/{name}")
                    self._sent[name] = mark
        except Exception as error:
            print(f"{self._storage.url}: {one_line(error)}", file=sys.stderr, flush=True)
            return False
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
