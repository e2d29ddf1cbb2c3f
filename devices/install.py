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
from devices.transports.ssh import NOT_FOUND, Device
from profiles.errors import UnavailableError

FOLDER = "~/.local/share/hwnas"
PYTHON = f"{FOLDER}/bin/python"
_NEEDED_MB = 300.0  # what numpy and onnxruntime take unpacked, twice
_TRIES = 8  # versions of onnxruntime
_STEP_S = 600.0

# All run there, by the Python that was found, and stand alone. The first imports venv too: a Python without it is to be
# found out before anything is sent.
_PROBE = """
import json, os, platform, shutil, sys, venv
folder = os.path.expanduser(sys.argv[1])
os.makedirs(folder, exist_ok=True)
print("hwnas " + json.dumps({
    "version": list(sys.version_info[:2]), "machine": platform.machine(), "libc": platform.libc_ver(),
    "free_mb": shutil.disk_usage(folder).free / 1e6,
}))
"""
# What the environment uses stays until its successor is known to work; what was tried before goes.
_UNPACK = """
import glob, os, shutil, sys, tarfile
folder = os.path.expanduser(sys.argv[1])
used = ""
for path in glob.glob(os.path.join(folder, "lib", "python*", "site-packages", "hwnas.pth")):
    with open(path) as file:
        used += file.read()
for name in os.listdir(folder):
    if name.startswith("packages-") and name != sys.argv[2] and name not in used:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
place = os.path.join(folder, sys.argv[2])
if not os.path.isdir(place):
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
        archive.extractall(place + ".part")
    os.sync()
    os.rename(place + ".part", place)
"""
# Without site-packages, as the environment will be.
_IMPORT = """
import json, os, subprocess, sys
place = os.path.join(os.path.expanduser(sys.argv[1]), sys.argv[2])
code = "import sys; sys.path.insert(0, sys.argv[1]); import numpy, onnxruntime"
words = [sys.executable, "-I", "-S", "-c", code, place]
done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print("hwnas " + json.dumps({"status": done.returncode, "stderr": done.stderr.decode(errors="replace")[-2000:]}))
"""
# Made anew where it is of another Python, which also happens when that of the system is upgraded.
_MAKE = """
import os, shutil, subprocess, sys, venv
folder = os.path.expanduser(sys.argv[1])
code = "import os, sys, sysconfig; print(sys.version_info[:2], os.path.isdir(sysconfig.get_path('purelib')))"
try:
    said = subprocess.check_output([os.path.join(folder, "bin", "python"), "-c", code]).decode().strip()
except (OSError, subprocess.CalledProcessError):
    said = ""
if said != "%s True" % (sys.version_info[:2],):
    for name in ("bin", "include", "lib"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    venv.create(folder, symlinks=True, with_pip=False)
"""
_USE = """
import os, shutil, sys, sysconfig
site = sysconfig.get_path("purelib")
with open(os.path.join(site, "hwnas.pth.part"), "w") as file:
    file.write(os.path.join(sys.prefix, sys.argv[1]) + "\\n")
os.replace(os.path.join(site, "hwnas.pth.part"), os.path.join(site, "hwnas.pth"))
for name in os.listdir(sys.prefix):
    if name.startswith("packages-") and name != sys.argv[1]:
        shutil.rmtree(os.path.join(sys.prefix, name), ignore_errors=True)
"""


def install(device: Device, tell: Callable[[str], None]) -> str:
    """The version of ONNX Runtime that works there, in the environment ``PYTHON``. ``tell`` hears of each step.

    Raises UnavailableError where the host cannot be reached or lacks something; the message says what, and an
    environment that is there is as before.
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
    below = ""
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
            packages = Path(scratch) / "packages"
            version = _fetch(packages, probe, below)
            tell(f"onnxruntime {version}")
            archive, size_mb = _pack(packages)
            with archive:
                tell(f"sending {size_mb:.0f} MB")
                name = f"packages-{_digest(packages, probe)}"
                _run(device, device.python, _UNPACK, FOLDER, name, stdin=archive)
        tried = _ask(device, device.python, _IMPORT, FOLDER, name)
        if tried["status"] == 0:
            _run(device, device.python, _MAKE, FOLDER)
            _run(device, PYTHON, _USE, name)
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
    if "No module named pip" in done.stderr:
        raise UnavailableError("this machine's Python has no pip: python -m ensurepip")
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


def _digest(folder: Path, probe: dict[str, Any]) -> str:
    """Of what is installed, names and versions, and of what it is for: Python and processor."""
    names = sorted(path.name for path in folder.glob("*.dist-info"))
    return hashlib.sha256(json.dumps([names, probe["version"], probe["machine"]]).encode()).hexdigest()[:16]


def _run(device: Device, python: str, program: str, *arguments: str, stdin: Any = subprocess.DEVNULL) -> str:
    command = device.command(python, "-c", program, *arguments)
    try:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=_STEP_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{device.host}: no answer within {_STEP_S:g} s") from None
    if done.returncode == NOT_FOUND:
        raise UnavailableError(f"there is no {python} on {device.host}; accepted: Python 3.10 or later, see --python")
    if done.returncode:
        reason = device.explain(done.returncode, done.stderr.decode(errors="replace"))
        raise UnavailableError(f"{device.host}: {reason or f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")
