"""The agent as one file: a zip that Python runs, of those files of hwnas that a device needs.

Its name holds the digest of its content and its content depends on the sources alone, so an equal agent is built once,
and copied to a device once. Files are stored uncompressed: that starts faster and is the same with every zlib.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import zipfile
from pathlib import Path

import devices
import profiles
from devices.depot import cache_folder, forget_agents
from profiles.errors import UnavailableError
from profiles.files import write_bytes

# What the agent is made of, beside all engines and meters. Nothing here imports more than the standard library and
# numpy.
PROFILES = ("__init__", "clock", "errors", "files", "records", "registry")
DEVICES = (
    "__init__",
    "agent",
    "blocks",
    "conditions",
    "depot",
    "disturbance",
    "energy",
    "energy_pass",
    "fallback",
    "fingerprint",
    "gpus",
    "health",
    "inputs",
    "loading",
    "lock",
    "memory_pass",
    "observe",
    "onnxfile",
    "parity",
    "passes",
    "program",
    "protocol",
    "residents",
    "worker",
)
DATA = ("calibration.onnx", "calibration.pt2", "empty.onnx", "empty.pt2")
# What the agent unpacked beside itself starts faster, since Python keeps the compiled form of those files. Not for the
# agent itself, which mends what a power cut has left there in part.
_MAIN = """import os
import sys

unpacked = os.path.splitext(sys.path[0])[0]
if len(sys.argv) > 1 and os.path.isdir(unpacked):
    sys.path.insert(0, unpacked)
from devices.agent import main

sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


def build_agent() -> Path:
    """The agent in the cache folder (``$XDG_CACHE_HOME/hwnas``, else ``~/.cache/hwnas``), built where it is missing.

    Those of other versions that nobody used for a week are removed.

    Raises UnavailableError where that folder cannot be written.
    """
    data = agent_bytes()
    path = cache_folder() / f"agent-{agent_digest()}.pyz"
    try:
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)
        os.utime(path)  # it is about to be used
    except OSError as error:
        reason = f"{path}: the agent cannot be written: {error.strerror}; set XDG_CACHE_HOME to another folder"
        raise UnavailableError(reason) from None
    forget_agents(path.parent)
    return path


@functools.cache
def agent_digest() -> str:
    """What names the agent: the first 16 digits of its sha256."""
    return hashlib.sha256(agent_bytes()).hexdigest()[:16]


@functools.cache
def agent_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(_contents().items()):
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), data)
    return buffer.getvalue()


@functools.cache
def calibration_digest() -> str:
    """sha256 of the calibration model."""
    return hashlib.sha256((_folder(devices) / "calibration.onnx").read_bytes()).hexdigest()


def _contents() -> dict[str, bytes]:
    here, below = _folder(devices), _folder(profiles)
    paths = {f"profiles/{name}.py": below / f"{name}.py" for name in PROFILES}
    paths |= {f"devices/{name}.py": here / f"{name}.py" for name in DEVICES}
    paths |= {f"devices/{name}": here / name for name in DATA}
    for kind in ("engines", "meters"):
        paths |= {f"devices/{kind}/{path.name}": path for path in (here / kind).glob("*.py")}
    return {"__main__.py": _MAIN.encode(), **{name: path.read_bytes() for name, path in paths.items()}}


@functools.cache
def _folder(package: object) -> Path:
    return Path(str(getattr(package, "__file__", None))).parent
