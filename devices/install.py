"""Makes a host that ssh reaches ready to measure: a virtual environment with numpy and ONNX Runtime, without root.

The host needs Python 3.10 or later and nothing else, no pip and no way to the internet: the packages are fetched here,
for its Python, processor and C library, and sent over ssh.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices.transports import last_line
from devices.transports.ssh import Device
from profiles.errors import UnavailableError

FOLDER = "~/.local/share/hwnas"
PYTHON = f"{FOLDER}/bin/python"
_NEEDED_MB = 300.0  # what numpy and onnxruntime take unpacked, twice
_TRIES = 8  # versions of onnxruntime
_STEP_S = 600.0

# All run there, by the Python that was found, and stand alone.
_PROBE = """
import json, os, platform, shutil, sys
folder = os.path.expanduser(sys.argv[1])
os.makedirs(folder, exist_ok=True)
print("hwnas " + json.dumps({
    "version": list(sys.version_info[:2]), "machine": platform.machine(), "libc": platform.libc_ver(),
    "free_mb": shutil.disk_usage(folder).free / 1e6,
}))
"""
_MAKE = """
import os, sys, venv
folder = os.path.expanduser(sys.argv[1])
if not os.path.exists(os.path.join(folder, "bin", "python")):
    venv.create(folder, symlinks=True, with_pip=False)
"""
_UNPACK = """
import os, shutil, sys, sysconfig, tarfile
site = sysconfig.get_path("purelib")
place = os.path.join(sys.prefix, sys.argv[1])
if not os.path.isdir(place):
    shutil.rmtree(place + ".part", ignore_errors=True)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
        archive.extractall(place + ".part")
    os.rename(place + ".part", place)
with open(os.path.join(site, "hwnas.pth.part"), "w") as file:
    file.write(place + "\\n")
os.replace(os.path.join(site, "hwnas.pth.part"), os.path.join(site, "hwnas.pth"))
for name in os.listdir(sys.prefix):
    if name.startswith("packages-") and name != sys.argv[1]:
        shutil.rmtree(os.path.join(sys.prefix, name), ignore_errors=True)
"""
_IMPORT = """
import json, subprocess, sys
words = [sys.executable, "-c", "import numpy, onnxruntime"]
done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print("hwnas " + json.dumps({"status": done.returncode, "stderr": done.stderr.decode(errors="replace")[-2000:]}))
"""


def install(device: Device, tell: Callable[[str], None]) -> str:
    """The version of ONNX Runtime that works there, in the environment ``PYTHON``. ``tell`` hears of each step.

    Raises UnavailableError where the host cannot be reached or lacks something; the message says what.
    """
    probe = _ask(device, device.python, _PROBE, FOLDER)
    python = ".".join(map(str, probe["version"]))
    tell(f"Python {python} on {probe['machine']}, {' '.join(probe['libc'])}, {probe['free_mb']:.0f} MB free")
    if tuple(probe["version"]) < (3, 10):
        raise UnavailableError(
            f"{device.host}: {device.python} is Python {python}; accepted: 3.10 and later, see --python"
        )
    if probe["free_mb"] < _NEEDED_MB:
        raise UnavailableError(
            f"{device.host}: {probe['free_mb']:.0f} MB free in {FOLDER}; needed: {_NEEDED_MB:.0f} MB"
        )
    _run(device, device.python, _MAKE, FOLDER)
    below = ""
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
            packages = Path(scratch) / "packages"
            version = _fetch(packages, probe, below)
            tell(f"onnxruntime {version}")
            archive, size_mb = _pack(packages)
            with archive:
                tell(f"sending {size_mb:.0f} MB")
                _run(device, PYTHON, _UNPACK, f"packages-{_digest(packages)}", stdin=archive)
        tried = _ask(device, PYTHON, _IMPORT)
        if tried["status"] == 0:
            return version
        if tried["status"] > 0:
            reason = last_line(tried["stderr"])
            raise UnavailableError(f"{device.host}: onnxruntime {version} cannot be imported: {reason}")
        tell(f"onnxruntime {version} dies there with signal {-tried['status']}; trying an older one")
        below = version
    raise UnavailableError(f"{device.host}: none of the last {_TRIES} versions of onnxruntime runs there")


def _ask(device: Device, python: str, program: str, *arguments: str) -> dict[str, Any]:
    """What ``program`` prints as JSON after the word hwnas; a login shell may print more."""
    for line in _run(device, python, program, *arguments).splitlines():
        if line.startswith("hwnas "):
            found: dict[str, Any] = json.loads(line[6:])
            return found
    raise UnavailableError(f"{device.host}: {python} answered nothing")


def _fetch(packages: Path, probe: dict[str, Any], below: str) -> str:
    """Install for that host into the folder ``packages``; the version of onnxruntime that pip chose."""
    wanted = ["numpy", f"onnxruntime<{below}" if below else "onnxruntime"]
    version = ".".join(map(str, probe["version"]))
    platforms = [part for platform in _platforms(probe) for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-qq"]
    command += ["--no-compile", "--only-binary=:all:", "--target", str(packages), "--implementation", "cp"]
    command += ["--python-version", version, *platforms, *wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_STEP_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"the package index: no answer within {_STEP_S:g} s") from None
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), last_line(done.stderr))
        machine = f"Python {version} on {probe['machine']}"
        raise UnavailableError(f"no {' and '.join(wanted)} for {machine}: {reason.removeprefix('ERROR: ')}")
    for tests in packages.glob("numpy/**/tests"):  # a quarter of it, and of no use there
        shutil.rmtree(tests, ignore_errors=True)
    (found,) = packages.glob("onnxruntime-*.dist-info")
    return found.name.removeprefix("onnxruntime-").removesuffix(".dist-info")


def _platforms(probe: dict[str, Any]) -> list[str]:
    """Tags of the wheels that its C library can load, the newest first (PEP 600)."""
    machine = probe["machine"]
    name, version = probe["libc"]
    if name != "glibc":
        return [f"musllinux_1_{minor}_{machine}" for minor in (2, 1)]
    minor = int(version.split(".")[1])
    old = [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]
    return [*(f"manylinux_2_{each}_{machine}" for each in range(minor, 4, -1)), *old, f"linux_{machine}"]


def _pack(folder: Path) -> tuple[Any, float]:
    archive = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as packed:
        packed.add(folder, ".")
    size_mb = archive.tell() / 1e6
    archive.seek(0)
    return archive, size_mb


def _digest(folder: Path) -> str:
    """Of what is installed: names and versions."""
    names = sorted(path.name for path in folder.glob("*.dist-info"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _run(device: Device, python: str, program: str, *arguments: str, stdin: Any = subprocess.DEVNULL) -> str:
    command = device.command(python, "-c", program, *arguments)
    try:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=_STEP_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{device.host}: no answer within {_STEP_S:g} s") from None
    if done.returncode:
        reason = device.explain(done.returncode, done.stderr.decode(errors="replace"))
        raise UnavailableError(f"{device.host}: {reason or f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")
