"""An environment for each version of a package: made once with pip, kept in a cache folder."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from packaging.version import InvalidVersion, Version

from devices.depot import cache_folder
from profiles.errors import InputError, UnavailableError

_DONE = "hwnas-complete"  # a file that is written last: an environment without it is made again
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input"]


def environment(package: str, version: str, folder: Path | None = None) -> Path:
    """The interpreter of an environment with numpy and this version; made where ``folder`` lacks it.

    Raises InputError on what is no name or version, UnavailableError where pip cannot install it here.
    """
    if not _NAME.fullmatch(package):
        raise InputError.of("bisect", "--package", package, "a package's name, without a version")
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = (folder or cache_folder() / "wheels").absolute()
    place = place / f"{package}-{_version(version)}-python{python_version}"
    python = place / "bin" / "python"
    if not (place / _DONE).is_file():
        with _alone(place):
            if not (place / _DONE).is_file():
                _make(place, package, version)
    return python


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time makes an environment; another one waits for it. Raises UnavailableError."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.with_name(f"{place.name}.lock").open("w")
    except OSError as error:
        raise UnavailableError(f"{place}: no environment can be made there: {error.strerror}") from None
    with file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(place: Path, package: str, version: str) -> None:
    try:
        venv.create(place, clear=True, symlinks=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"{package} {version}: no environment can be made in {place}: {error}") from None
    install = [str(place / "bin" / "python"), *_PIP, "install", "--quiet", f"{package}=={version}", "numpy"]
    _run(install, f"{package} {version}")
    (place / _DONE).touch()


def versions_between(package: str, good: str, bad: str, python: Path) -> list[str]:
    """From ``good`` to ``bad``, those included: what the package index has for this Python; no pre-releases.

    ``python``: an interpreter with pip. Raises UnavailableError where pip cannot say.
    """
    listed = _run([str(python), *_PIP, "index", "versions", package], package)
    return between(parse_versions(listed), good, bad)


def parse_versions(listed: str) -> list[str]:
    """Of the output of ``pip index versions``."""
    match = re.search(r"^Available versions: (.+)$", listed, re.MULTILINE)
    return [text.strip() for text in match[1].split(",")] if match else []


def between(available: Sequence[str], good: str, bad: str) -> list[str]:
    """In the order from ``good`` to ``bad``, which may be the older one. Raises InputError on what is no version."""
    first, last = _version(good), _version(bad)
    inside = {_version(text) for text in available}
    chosen = {one for one in inside if min(first, last) < one < max(first, last)} | {first, last}
    return [str(one) for one in sorted(chosen, reverse=first > last)]


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise InputError.of("bisect", "--good or --bad", text, "a version such as 1.22.0") from None


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}"
        raise UnavailableError(f"{what}: cannot be installed: {reason}")
    return done.stdout
