"""What a session starts in place of an agent where adb reaches the device: takes the agent's requests, has the runner
do them, gives the agent's answers.

    python -m devices.runner.bridge '{"serial": ..., "runner": ..., "library": ..., "folder": ..., "adb": ...}'

What each request comes to is in ``devices.runner.operations``; this is the process: where requests come from, where
answers go, and how it ends.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import NoReturn

from devices import protocol
from devices.protocol import Record
from devices.runner.link import Link, Lost, Setting
from devices.runner.operations import perform
from profiles.errors import UnavailableError


def main(arguments: list[str]) -> int:
    output = protocol.take_stdout()
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        tempfile.tempdir = scratch  # all that this process writes
        signal.signal(signal.SIGTERM, lambda number, frame: _leave(scratch))
        return _serve(output, scratch, arguments[0])


def _serve(output: int, scratch: str, setting: str) -> int:
    link: Link | None = None
    client = ""
    for request in _requests(scratch):

        def tell(event: str, request: Record = request, **data: object) -> None:
            protocol.write(output, {"id": request["id"], "event": event, **data})

        try:
            if request["op"] == "hello":
                client = request.get("client", "")
                tell("started")  # starting adb and pushing the runner takes its time
                link = Link(Setting(**json.loads(setting)))
                answer: Record = {"pid": link.pid}
            elif link is None:
                raise UnavailableError("the first request must be hello")
            else:
                answer = perform(link, request, client, tell)
            protocol.write(output, {"id": request["id"], "done": True, **answer})
        except Lost as error:  # as an agent does whose connection ends
            print(error, file=sys.stderr, flush=True)
            return 1
        except Exception as error:
            protocol.write(output, protocol.failure(request["id"], error))
            if link is None:
                return 1
    return 0


def _requests(scratch: str) -> Iterator[Record]:
    """Until stdin ends, which ends this process at once, whatever it waits for: the session is over then."""
    arrived: queue.SimpleQueue[Record] = queue.SimpleQueue()

    def read() -> None:
        lines = protocol.Lines()
        while data := os.read(0, 1 << 16):
            for line in lines.feed(data):
                if record := protocol.parse(line):
                    arrived.put(record)
        _leave(scratch)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield arrived.get()


def _leave(scratch: str) -> NoReturn:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # a thread still reads stdin
