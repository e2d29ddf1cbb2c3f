"""What all tests share: one thread each, no deadlines, and where the checkout lies."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Before anything imports numpy or torch, and for every process that a test starts: the tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Measurements of one worker do not wait for those of another one: no test stands on a quiet machine.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("HWNAS_LOCK", str(Path(tempfile.gettempdir()) / f"hwnas-tests-{worker}.lock"))

# Machines are slow at times; what a test shows must not depend on it.
hypothesis.settings.register_profile("hwnas", deadline=None, print_blob=True)
hypothesis.settings.load_profile("hwnas")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout: the folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def repository_files(root: Path) -> list[Path]:
    """Every file that is in git or would be with ``git add .``; without git, every file outside of hidden folders."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        found = {root / name for name in listed if name}
    else:
        found = {
            path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
        }
    return sorted(path for path in found if path.is_file())
