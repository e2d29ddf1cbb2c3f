"""A device that adb reaches, such as a phone: no Python is needed there.

[devices.pixel]
transport = "adb"
serial = "1A2B3C4D"                    # as `adb devices` lists it, or host:port; default: the only device there is
runner = "android/hwnas-runner"        # built from hwnas's runner.c for the device, see docs/fleet.md
library = "android/libonnxruntime.so"  # ONNX Runtime for the device
folder = "/data/local/tmp/hwnas"       # default; runner, library and models are kept there
adb = "adb"                            # default; the client

Both files and the models are pushed once. The engine is onnxruntime alone. Not measured there, each with its reason:
energy, several callers, a sustained load, two targets against each other that differ in threads or provider.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from devices.transports import at_home, last_line, piped

# What adb or the runner says -> what to say. The first that fits counts.
_REASONS = (
    ("unauthorized", "it does not trust this machine yet: accept the key on its screen"),
    ("no permissions", "adb may not use it: see adb devices -l"),
    ("device offline", "adb finds it offline: plug it in again, or adb reconnect"),
    ("more than one device", "there are several devices: give its serial, as adb devices lists it"),
    ("no devices/emulators found", "adb finds no device: see adb devices -l"),
    ("device '.*' not found|device not found", "adb does not find it: see adb devices -l"),
    ("cannot execute|not executable|Exec format error", "{runner} is a program for another kind of processor"),
)


def _serial(text: str) -> str:
    if not re.fullmatch(r"[^\s-]\S*", text):
        raise ValueError("a serial as adb takes it")
    return text


def _absolute(text: str) -> str:
    if not re.fullmatch(r"/[\w./-]+", text):
        raise ValueError("an absolute path of letters, digits, '.', '_', '-' and '/'")
    return text


class Device(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    shares_files: ClassVar[bool] = True  # with the bridge, which brings them there by adb push

    runner: Path
    library: Path
    serial: Annotated[str, pydantic.AfterValidator(_serial)] | None = None
    folder: Annotated[str, pydantic.AfterValidator(_absolute)] = "/data/local/tmp/hwnas"
    adb: Annotated[str, pydantic.AfterValidator(at_home)] = "adb"

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        return piped(
            [sys.executable, "-P", "-u", "-m", "devices.runner.bridge", self.model_dump_json()],
            stderr,
        )

    def explain(self, status: int | None, stderr: str) -> str:
        for pattern, reason in _REASONS:
            if re.search(pattern, stderr):
                return reason.format(runner=self.runner)
        return last_line(stderr)
