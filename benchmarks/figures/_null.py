"""A study that costs nothing but its controller: tiny networks, null devices, a table in place of training.

15,625 candidates. What is left is exporting, asking devices, files, events, and the generator.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SPACE = """
import sys

from nas.spaces import Choice

parameters = tuple(Choice(name, tuple(range(1, 26)), ordered=True) for name in "abc")


def build(choices, *, input_shape, outputs):
    from torch import nn

    return nn.Sequential(nn.Linear(input_shape[0], choices["a"]), nn.ReLU(), nn.Linear(choices["a"], outputs))


space = sys.modules[__name__]
"""
STUDY = """
name = "null"
space = "null_space:space"
[data]
name = "shape"
input_shape = [4]
outputs = 2
[budget]
trials = 100
[search]
generator = "random"
[train]
table = "null.csv"
[confirm]
seeds = 0
processes = 2
[[objective]]
metric = "score"
goal = "max"
[[objective]]
metric = "params"
goal = "min"
[[constraint]]
metric = "latency_ms@null"
max = 1000
"""
FLEET = """
[devices.null]
transport = "null"
time_ms = {time_ms}
[targets.null]
device = "null"
engine = "null"
"""


def write_study(folder: Path, time_ms: float = 0) -> Path:
    """``null.toml`` and what it names; ``fleet.toml`` beside it, whose device takes ``time_ms`` for a request."""
    rows = [f"{a},{b},{c},{(a * 7 + b * 3 + c) % 97}" for a, b, c in itertools.product(range(1, 26), repeat=3)]
    (folder / "null.csv").write_text("\n".join(["a,b,c,score", *rows]) + "\n")
    (folder / "null_space.py").write_text(SPACE)
    (folder / "fleet.toml").write_text(FLEET.format(time_ms=time_ms))
    (folder / "null.toml").write_text(STUDY)
    return folder / "null.toml"


def start(folder: Path, arguments: Sequence[str], log: str) -> subprocess.Popen[bytes]:
    """``hwnas search null.toml`` with ``arguments``, in ``folder``; its stderr goes to the file ``log`` there."""
    here = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "benchmarks.cli", "search", "null.toml", "--fleet", "fleet.toml", "--no-report"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, str(folder)])}
    with (folder / log).open("ab") as file:
        return subprocess.Popen(
            [*command, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=file
        )
