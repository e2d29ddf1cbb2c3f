"""A device that joins a fleet of four that were searched before: is it searched with 20 candidates as well as with 100?

Exact tables of NAS-Bench-201. Each (device, seed) is one line of ``docs/results-newcomer.jsonl``; lines that are there
are not taken again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import Problem, on_device
from benchmarks.figures._units import lines_of
from benchmarks.figures.transfer import BATCH, Rows, searched, told
from nas.generate import AskTell
from nas.transfer import merged

_LINES = Path(__file__).resolve().parent.parent.parent / "docs" / "results-newcomer.jsonl"

# A GPU, two server CPUs and two phones.
FLEET = ("2080ti_1", "gold_6226", "silver_4114", "samsung_a50", "essential_ph_1")
ALONE, FEW, BEFORE, SEEDS = 100, 20, 60, 3


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    there = {(one["device"], one["seed"]) for one in lines_of(_LINES)}
    for seed in range(SEEDS):
        missing = [device for device in FLEET if (device, seed) not in there]
        before: dict[str, Rows] = {}
        for device in missing:
            for each in FLEET:
                if each not in before and not _over(end):
                    before[each] = _search(on_device(each), ALONE, [], seed)
            if _over(end):
                break
            _keep(_compared(device, seed, before))
    lines = lines_of(_LINES)
    return [
        "# A new device of a fleet",
        "",
        "`python -m benchmarks.bench newcomer`: NAS-Bench-201, accuracy on CIFAR-10 against latency, by `hwnas`. Each",
        f"of five devices in turn is new; the first {BEFORE} candidates of a search on each of the other four are what",
        f"is transferred. Share of the true hypervolume, the mean over seeds: alone after {FEW} and {ALONE}",
        f"candidates, and with the transfer after {FEW}.",
        "",
        f"| new device | seeds | alone, {FEW} | with transfer, {FEW} | alone, {ALONE} |",
        "|---|---|---|---|---|",
        *(_row(device, [one for one in lines if one["device"] == device]) for device in FLEET),
        _row("**mean**", lines),
    ]


def _compared(device: str, seed: int, before: dict[str, Rows]) -> dict[str, Any]:
    given = on_device(device)
    transfer = merged([one for other in FLEET if other != device for one in told(before[other][:BEFORE], given)])
    found = _search(given, FEW, transfer, seed)
    return {
        "device": device,
        "seed": seed,
        "alone_few": _reached(given, before[device][:FEW]),
        "with_few": _reached(given, found),
        "alone": _reached(given, before[device]),
    }


def _search(given: Problem, budget: int, transfer: list[dict[str, Any]], seed: int) -> Rows:
    spec = given.spec(budget=budget, batch=BATCH) | {"generator": "hwnas", "transfer": transfer}
    return searched(AskTell(spec, seed), given, budget)


def _reached(given: Problem, rows: Rows) -> float:
    return round(given.reached([values for _, values in rows]), 4)


def _over(end: float | None) -> bool:
    return end is not None and time.monotonic() > end


def _keep(line: dict[str, Any]) -> None:
    with _LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    print(line, file=sys.stderr)


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    seeds = sorted({one["seed"] for one in lines})
    means = [
        f"{np.mean([one[key] for one in lines]):.3f}" if lines else "-" for key in ("alone_few", "with_few", "alone")
    ]
    return f"| {name} | {', '.join(map(str, seeds)) or '-'} | {' | '.join(means)} |"
