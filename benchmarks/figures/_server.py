"""A PostgreSQL server for as long as a figure needs one: that of tests/systems/postgres.sh."""

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


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL. Raises UnavailableError where none can be had."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise UnavailableError("PostgreSQL: needs root and Debian's packages")
    with tempfile.TemporaryDirectory(prefix="hwnas-postgres-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        subprocess.run([_SCRIPT, "start", folder, str(port)], check=True)
        try:
            password = (folder / "password").read_text().strip()
            yield f"postgresql+psycopg://hwnas:{quote(password, safe='')}@127.0.0.1:{port}/hwnas"
        finally:
            subprocess.run([_SCRIPT, "stop", folder], check=False)
