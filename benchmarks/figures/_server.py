"""A PostgreSQL server for as long as a figure, or a test, needs one: that of tests/systems/postgres.sh."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from profiles.errors import UnavailableError

_SCRIPT = Path(__file__).resolve().parents[2] / "tests" / "systems" / "postgres.sh"


class Server:
    """In ``folder``, on a port of its own; ``url`` holds its password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        self.start()
        self.password = (folder / "password").read_text().strip()
        self.url = f"postgresql+psycopg://hwnas:{quote(self.password, safe='')}@127.0.0.1:{self._port}/hwnas"

    def start(self) -> None:
        subprocess.run([_SCRIPT, "start", self._folder, str(self._port)], check=True)

    def kill(self) -> None:
        """As the kernel would, or a power cut."""
        subprocess.run([_SCRIPT, "kill", self._folder], check=True)

    def stop(self) -> None:
        subprocess.run([_SCRIPT, "stop", self._folder], check=False)


def lacking() -> str | None:
    """What keeps this machine from a server."""
    return None if os.getuid() == 0 and shutil.which("apt-get") else "needs root and Debian's packages"


@contextmanager
def postgres() -> Iterator[Server]:
    """Raises UnavailableError where none can be had."""
    if reason := lacking():
        raise UnavailableError(f"PostgreSQL: {reason}")
    with tempfile.TemporaryDirectory(prefix="hwnas-postgres-") as scratch:
        Path(scratch).chmod(0o755)  # the user postgres has to reach it
        server = Server(Path(scratch))
        try:
            yield server
        finally:
            server.stop()
