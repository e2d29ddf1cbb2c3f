"""How the agent's program is started again, as a process of its own for one task."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any


def of(role: str, target: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Command and environment for a child of this process, in the target's Python; see ``agent``."""
    python = os.path.expanduser(target.get("python") or sys.executable)
    threads = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": str(target.get("threads", 1))}
    # cuBLAS, cuDNN and TensorRT would compute fp32 with 10 bits of mantissa in place of 23.
    exact = {"NVIDIA_TF32_OVERRIDE": "0"}
    return [python, "-u", sys.argv[0], role, str(os.getpid())], {**os.environ, **threads, **exact}
