"""A pair of pipes through a shared folder, for a machine that nothing else reaches: what starts the agent there.

    python mailbox.py SESSION AGENT CACHE      on the node: runs AGENT until it, its host or this process ends

Every piece of a stream is a file with the next number, written beside and renamed, read and removed by the other side.
``SESSION/to-node`` and ``SESSION/to-host`` hold them; a file ``end`` there is the last word of who writes, and
``SESSION/alive`` changes every few seconds while the node lives. It stands alone and runs on old Pythons too: those
are for the agent to refuse.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import NoReturn

ALIVE_S = 5.0  # between two signs of life of the node
_IDLE_S, _MEASURING_S = 0.05, 1.0  # between two looks into the folder; seldom while something is measured here
_FIRST_S = 120.0  # for the first piece
_FINAL = re.compile(rb'"(?:done|error)":')


def write(path: str, data: bytes) -> None:
    """The whole file or none. Several may write the same one."""
    part = f"{path}.{os.urandom(8).hex()}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        if os.path.exists(part):
            os.remove(part)
        raise


class Sender:
    def __init__(self, folder: str) -> None:
        self._folder, self._number = folder, 0

    def send(self, data: bytes) -> None:
        self._number += 1
        write(os.path.join(self._folder, f"{self._number:08}"), data)

    def end(self, word: str = "") -> None:
        write(os.path.join(self._folder, "end"), word.encode())


class Receiver:
    """``end``: the last word of the other side, once all pieces before it were taken."""

    def __init__(self, folder: str) -> None:
        self._folder, self._number = folder, 0
        self.end: str | None = None

    def receive(self) -> bytes:
        """All pieces that are there; empty where there are none."""
        names = set(os.listdir(self._folder))  # also makes a network file system look again
        pieces = []
        while f"{self._number + 1:08}" in names:
            path = os.path.join(self._folder, f"{self._number + 1:08}")
            with open(path, "rb") as file:
                pieces.append(file.read())
            os.remove(path)
            self._number += 1
        if not pieces and "end" in names:
            with open(os.path.join(self._folder, "end"), encoding="utf-8") as file:
                self.end = file.read()
        return b"".join(pieces)


def asks(data: bytes) -> bool:
    """Whether there is more among these lines than signs of life."""
    return any(b'"op":"beat"' not in line for line in data.splitlines())


def main(session: str, agent: str, cache: str) -> None:
    outgoing = Sender(os.path.join(session, "to-host"))
    incoming = Receiver(os.path.join(session, "to-node"))
    signal.signal(signal.SIGTERM, lambda number, frame: leave("the job was told to end"))
    os.environ["HWNAS_FOLDER"] = os.path.join(cache, socket.gethostname())
    with open(os.path.join(session, "stderr"), "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-u", agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise OSError("no pipes")
    ending = threading.Lock()
    idle = threading.Event()  # nothing is measured here
    idle.set()

    def leave(word: str) -> NoReturn:
        if ending.acquire(blocking=False):
            process.kill()  # its worker dies with it
            try:
                outgoing.end(word)
            finally:
                os._exit(0)
        time.sleep(1.0)  # another thread has the last word
        os._exit(0)

    def carry() -> None:
        while True:
            data = os.read(stdout.fileno(), 1 << 20)
            if not data:
                leave(f"the agent ended with status {process.wait()}")
            if _FINAL.search(data):
                idle.set()
            outgoing.send(data)

    threading.Thread(target=carry, daemon=True).start()
    started, told, beat = time.monotonic(), 0.0, 0
    heard = False
    while incoming.end is None:
        now = time.monotonic()
        if now - told >= ALIVE_S:
            beat += 1
            write(os.path.join(session, "alive"), str(beat).encode())
            told = now
        data = incoming.receive()
        if data:
            heard = True
            if asks(data):
                idle.clear()
            stdin.write(data)
            stdin.flush()
        elif not heard and now - started > _FIRST_S:
            leave("no request came")
        elif idle.is_set():
            time.sleep(_IDLE_S)
        else:
            idle.wait(_MEASURING_S)
    stdin.close()
    process.wait()
    leave("")


if __name__ == "__main__":
    main(*sys.argv[1:])
