"""Programs that tests need and Debian has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SCRIPT = Path(__file__).with_name("packages.sh")


def lacking(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Why they are not here; empty: they are. Installs the packages where that is all that is missing."""
    complaint = ""
    if os.geteuid() == 0 and shutil.which("apt-get"):  # also where all are there: another worker may be installing them
        done = subprocess.run([SCRIPT, *programs, "--", *packages], capture_output=True, text=True, check=False)
        complaint = "".join(f": {line}" for line in done.stderr.strip().splitlines()[-1:])
    missing = [program for program in programs if not shutil.which(program)]
    return f"this machine lacks {', '.join(missing)} (Debian: {', '.join(packages)}){complaint}" if missing else ""
