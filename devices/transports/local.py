"""This machine: the agent is a subprocess.

[devices.here]
transport = "local"
python = "/opt/env/bin/python"    # default: the one that runs hwnas
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from devices.transports import at_home, last_line, piped


class Device(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    shares_files: ClassVar[bool] = True

    python: Annotated[str, pydantic.AfterValidator(at_home)] = sys.executable

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        return piped(
            [self.python, "-u", str(agent)],
            stderr,
        )

    def explain(self, status: int | None, stderr: str) -> str:
        return last_line(stderr)
