"""A module of ours run over a run folder in a process of its own: for what imports Ax, which is slow and talks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nas.lifeline import die_with_parent
from profiles.errors import UnavailableError


def run_module(module: str, run: Path, timeout_s: float = 600.0, environment: Mapping[str, str] | None = None) -> str:
    """What ``python -m MODULE RUN`` prints on stdout, without the last newline. ``environment``: what is added to it.
    To be called on the main thread: the process ends with it, however that ends (on Linux).

    Raises UnavailableError with the last line of its stderr, or saying that it took too long.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    whole = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths} | dict(environment or {})
    command, here = [sys.executable, "-m", module, str(run.resolve())], os.getpid()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=whole,
            check=True,
            preexec_fn=lambda: die_with_parent(here),
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{module}: no answer within {timeout_s:g} s") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit {error.returncode}"]
        raise UnavailableError(f"{module}: {lines[-1]}") from None
    return done.stdout.rstrip("\n")
