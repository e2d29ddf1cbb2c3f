"""A device that is not there: every request takes a fixed time, and every model 1 ms. To see how a fleet is driven.

[devices.n1]
transport = "null"
time_ms = 100.0           # default; what one request takes, of which a profile makes five
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from devices.transports import last_line, piped


class Device(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    shares_files: ClassVar[bool] = True

    time_ms: Annotated[float, pydantic.Field(ge=0)] = 100.0

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        program = Path(__file__).with_name("_null_agent.py")
        return piped(
            [sys.executable, "-I", "-S", str(program), str(self.time_ms)],
            stderr,
        )

    def explain(self, status: int | None, stderr: str) -> str:
        return last_line(stderr)
