"""How good is the measuring? Under a busy process that comes and goes, but for the overhead.

    python -m benchmarks.bench measuring --minutes 20

Units of a few seconds, appended to ``docs/results-measuring.jsonl``; the next call goes on. About 90 minutes in all on
two cores. The kinds come in turns, so that a part of the time gives a part of each figure.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.figures import _baseline, _load, _nets, _report
from benchmarks.figures._units import Result, Units
from devices.duet import DuetPlan, compare
from devices.fleet import load_fleet
from devices.measure import profile
from devices.plan import PRECISE, Job, Plan
from devices.session import Session, connect
from profiles.errors import MeasurementError
from profiles.records import Target

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results-measuring.jsonl"
TURNS = 10
BUDGET_S = 5.0  # of a comparison of a model with itself, and of a long run
REPEAT_S = 10.0
WHOLE = 15  # every so many comparisons of a model with itself take the budget that all others have: the command's own
SOURCES = ("measuring.py", "_nets.py", "_load.py", "_baseline.py", "_beside.py", "call_loop.c")

# name: layers, channels, side. One layer more is 5 % of 20 and 3 % of 33; about 0.11, 0.18, 0.5, 1.3 and 5 ms.
_STACKS = {
    "twenty": (20, 16, 14), "twenty_one": (21, 16, 14),
    "thirty_three": (33, 16, 14), "thirty_four": (34, 16, 14),
    "half": (8, 32, 28), "one": (16, 32, 28), "five": (44, 32, 28),
}  # fmt: skip
_COUNTS = {
    "overhead mlp": 20, "overhead half": 60, "overhead one": 60, "overhead five": 60,
    "same": 300, "slower 5 %": 100, "slower 3 %": 100,
    "repeat twenty": 10, "repeat one": 10, "repeat five": 10,
    "ratio": 20, "screen": 100, "long": 100,
}  # fmt: skip


def take(minutes: float | None = None) -> list[str]:
    """The page, from what is there after ``minutes``."""
    here = Path(__file__).parent
    units = Units(RESULTS, minutes, [here / name for name in SOURCES])
    with tempfile.TemporaryDirectory(prefix="hwnas-bench-") as folder:
        fleet = load_fleet()
        with connect(fleet.device("local"), "local") as session:
            works = _works(session, fleet.target("local"), Path(folder))
            for turn in range(1, TURNS + 1):
                for kind, count in _COUNTS.items():
                    quiet = kind.startswith("overhead")
                    with nullcontext() if quiet else _load.busy(seed=turn):
                        units.do(kind, math.ceil(count * turn / TURNS), works[kind])
    return _report.page(units, _COUNTS)


def _works(session: Session, target: Target, folder: Path) -> dict[str, Callable[[int], Result]]:
    mlp = _nets.mlp(folder / "mlp.onnx")
    nets = {
        name: _nets.stack(folder / f"{name}.onnx", layers=layers, channels=channels, side=side)
        for name, (layers, channels, side) in _STACKS.items()
    }
    shapes = {name: (1, channels, side, side) for name, (_, channels, side) in _STACKS.items()}
    loop = _baseline.build(folder)
    duet = partial(_duet, session, target)
    return {
        "overhead mlp": partial(_overhead, loop, mlp, (1, 16)),
        **{f"overhead {name}": partial(_overhead, loop, nets[name], shapes[name]) for name in ("half", "one", "five")},
        "same": lambda n: duet(
            *(2 * (nets["one" if n % 3 == 2 else "twenty"],)), n, plan=None if n % WHOLE == 0 else LOOK
        ),
        "slower 5 %": partial(duet, nets["twenty"], nets["twenty_one"]),
        "slower 3 %": partial(duet, nets["thirty_three"], nets["thirty_four"]),
        **{
            f"repeat {name}": partial(_repeat, session, target, nets[name], PRECISE_REPEAT)
            for name in ("twenty", "one", "five")
        },
        "ratio": lambda n: duet(nets["five"], nets["five"], n, plan=DuetPlan(interval_within=0.01)),
        "screen": lambda n: _repeat(session, target, _candidate(folder, n), Plan(memory=False), n),
        "long": lambda n: _repeat(session, target, _candidate(folder, n), LONG, n),
    }


LOOK = DuetPlan(budget_s=BUDGET_S)
PRECISE_REPEAT = dataclasses.replace(PRECISE, budget_s=REPEAT_S, memory=False)
LONG = dataclasses.replace(PRECISE, within=0.005, budget_s=BUDGET_S, memory=False)


def _duet(
    session: Session, target: Target, base: Path, other: Path, number: int, plan: DuetPlan | None = None
) -> Result:
    plan = dataclasses.replace(plan or DuetPlan(), seed=number)
    first, second = (Job(model=path, name=path.stem) for path in (base, other))
    found = compare(session, first, second, target, plan=plan)
    return {**found.verdict.to_dict(), "base_ms": found.base_ms, "stopped": found.stopped, "flags": list(found.flags)}


def _repeat(session: Session, target: Target, model: Path, plan: Plan, number: int) -> Result:
    """The calibrated latency with a reference of 1 ms, which is the same for all."""
    job = Job(model=model, name=model.stem)
    found = profile(session, job, target, reference_ms=1.0, plan=dataclasses.replace(plan, seed=number))
    return {
        "latency_ms": found.latency_ms_calibrated,
        "raw_ms": found.latency_ms.p50,
        "stopped": found.stopped,
        "flags": list(found.flags),
    }


def _overhead(loop: Path, model: Path, shape: tuple[int, ...], number: int) -> Result:
    given = [str(loop), str(model), str(number), *map(str, shape)]
    command = [sys.executable, "-m", "benchmarks.figures._beside", *given]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MeasurementError(f"the loop beside hwnas: {done.stderr.strip().splitlines()[-1]}")
    found: Result = json.loads(done.stdout)
    return found


def _candidate(folder: Path, number: int) -> Path:
    """The same network for the same number: random choices of ``convnet``, for 16 x 16 pixels."""
    path = folder / f"candidate{number}.onnx"
    if not path.exists():
        from nas.export import export_onnx
        from nas.spaces import Choice, build, find_space

        space, generator = find_space("convnet"), random.Random(number)
        choices: dict[str, Any] = {
            one.name: generator.choice(list(cast(Choice, one).values)) for one in space.parameters
        }
        export_onnx(build(space, choices, (3, 16, 16), 10), path, input_shape=(3, 16, 16))
    return path
