"""A small fake adbd over TCP: what a phone answers to the real adb client, with this machine's shell and files.

    python adbd.py PORT      serves until it is killed, which also ends what it runs

CNXN, OPEN, OKAY, WRTE and CLSE of adb's protocol.txt; the services "shell,v2" (shell_service.h) and "sync:" (SYNC.TXT:
STAT, SEND, RECV). A test double of the transport: nothing here is like a phone but the way to talk to it.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

CNXN, OPEN, OKAY, WRTE, CLSE = 0x4E584E43, 0x4E45504F, 0x59414B4F, 0x45545257, 0x45534C43
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
BANNER = b"device::ro.product.name=fake;ro.product.model=fake;ro.product.device=fake;features=shell_v2"
MOST = 1 << 18


class Stream:
    """One service of a connection: what the client writes arrives at ``read``; ``write`` waits for its OKAY."""

    def __init__(self, link: Link, number: int, peer: int) -> None:
        self._link, self._number, self._peer = link, number, peer
        self._reader, self._writer = os.pipe()
        self._acknowledged = threading.Semaphore(1)

    def take(self, data: bytes) -> None:
        threading.Thread(target=self._keep, args=(data,)).start()

    def _keep(self, data: bytes) -> None:
        """The next WRTE comes only once this one is acknowledged."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._writer, view) :]
        except OSError:
            return  # the service has ended
        self._link.send(OKAY, self._number, self._peer)

    def acknowledged(self) -> None:
        self._acknowledged.release()

    def read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            data = os.read(self._reader, count - len(found))
            if not data:
                raise EOFError
            found += data
        return found

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST):
            self._acknowledged.acquire()
            self._link.send(WRTE, self._number, self._peer, data[start : start + MOST])

    def end_input(self) -> None:
        os.close(self._writer)

    def close(self) -> None:
        self._acknowledged.acquire()
        self._link.send(CLSE, self._number, self._peer)
        os.close(self._reader)


class Link:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)  # never one again: a late word for a closed stream is not for another

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._connection.sendall(head + data)

    def serve(self) -> None:
        incoming = self._connection.makefile("rb")
        while head := incoming.read(24):
            command, first, second, length, _, _ = struct.unpack("<6I", head)
            data = incoming.read(length)
            if command == CNXN:
                self.send(CNXN, 0x01000001, MOST, BANNER)
            elif command == OPEN:
                number = next(self._numbers)
                stream = self._streams[number] = Stream(self, number, first)
                self.send(OKAY, number, first)
                service = data.rstrip(b"\0").decode()
                threading.Thread(target=_serve, args=(service, stream), daemon=True).start()
            elif second not in self._streams:
                continue  # one that was closed meanwhile
            elif command == WRTE:
                self._streams[second].take(data)
            elif command == OKAY:
                self._streams[second].acknowledged()
            elif command == CLSE:
                self._streams.pop(second).end_input()
        for stream in self._streams.values():
            stream.end_input()


def _serve(service: str, stream: Stream) -> None:
    try:
        if service.startswith("shell,v2"):
            _shell(service.partition(":")[2], stream)
        elif service == "sync:":
            _sync(stream)
        stream.close()
    except (EOFError, OSError):
        return


def _shell(command: str, stream: Stream) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    writing = threading.Lock()

    def packet(kind: int, data: bytes) -> None:
        with writing:
            stream.write(struct.pack("<BI", kind, len(data)) + data)

    def copy(source: BinaryIO, kind: int) -> None:
        while data := source.read(1 << 16):
            packet(kind, data)

    def feed() -> None:
        try:
            while True:
                kind, length = struct.unpack("<BI", stream.read(5))
                data = stream.read(length)
                if kind == CLOSE_STDIN:
                    break
                if kind == STDIN:
                    process.stdin.write(data)
        except (EOFError, OSError):
            pass
        process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    copies = [threading.Thread(target=copy, args=pair) for pair in ((process.stdout, STDOUT), (process.stderr, STDERR))]
    for thread in copies:
        thread.start()
    for thread in copies:
        thread.join()
    packet(EXIT, bytes([process.wait() & 0xFF]))


def _sync(stream: Stream) -> None:
    while True:
        word, length = struct.unpack("<4sI", stream.read(8))
        argument = stream.read(length).decode() if word != b"QUIT" else ""
        if word == b"QUIT":
            return
        if word == b"STAT":
            status = os.stat(argument) if os.path.exists(argument) else None
            found = (status.st_mode, status.st_size, int(status.st_mtime)) if status else (0, 0, 0)
            stream.write(struct.pack("<4s3I", b"STAT", *found))
        elif word == b"RECV":
            with open(argument, "rb") as file:
                while data := file.read(1 << 16):
                    stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
            stream.write(struct.pack("<4sI", b"DONE", 0))
        elif word == b"SEND":
            _receive(Path(argument.rpartition(",")[0]), stream)


def _receive(path: Path, stream: Stream) -> None:
    failed = b""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file: BinaryIO | None = path.open("wb", buffering=0)
    except OSError as error:
        file, failed = None, str(error.strerror).encode()
    while True:
        word, length = struct.unpack("<4sI", stream.read(8))
        if word == b"DONE":  # with a time in place of a length
            break
        data = stream.read(length)
        try:
            while file and data:
                data = data[file.write(data) :]
        except OSError as error:
            file, failed = None, str(error.strerror).encode()
    stream.write(struct.pack("<4sI", b"FAIL", len(failed)) + failed if failed else struct.pack("<4sI", b"OKAY", 0))


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=Link(connection).serve, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
