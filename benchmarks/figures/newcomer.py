"""A device that joins a fleet of four that were searched before: how few candidates, and trainings, does it need?

Exact tables of NAS-Bench-201. Each (device, seed) is one line of ``docs/results-newcomer.jsonl``; lines that are there
are not taken again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import Problem, on_device
from benchmarks.figures._units import lines_of
from benchmarks.figures.transfer import BATCH, Rows, newly, searched, told, trained
from benchmarks.minutes import over_after
from nas.generate import AskTell
from nas.transfer import merged

_LINES = Path(__file__).resolve().parent.parent.parent / "docs" / "results-newcomer.jsonl"

# A GPU, two server CPUs and two phones.
FLEET = ("2080ti_1", "gold_6226", "silver_4114", "samsung_a50", "essential_ph_1")
ALONE, FEW, SEEDS = 100, 20, 3


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    over = over_after(minutes)
    there = {(one["device"], one["seed"]) for one in lines_of(_LINES)}
    for seed in range(SEEDS):
        missing = [device for device in FLEET if (device, seed) not in there]
        before: dict[str, Rows] = {}
        for device in missing:
            for each in FLEET:
                if each not in before and not over():
                    before[each] = _search(on_device(each), ALONE, seed)
            if over():
                break
            _keep(_compared(device, seed, before))
    lines = lines_of(_LINES)
    return [
        "# A new device of a fleet",
        "",
        "`python -m benchmarks.bench newcomer`: NAS-Bench-201, accuracy on CIFAR-10 against latency, by `hwnas`. Each",
        f"of five devices in turn is new, after searches with {ALONE} candidates on each of the other four, which are",
        f"transferred. Share of the true hypervolume, the mean over seeds: alone after {FEW} and {ALONE} candidates,",
        f"and with the transfer after {FEW}. Then how many candidates it takes with the transfer to reach what {ALONE}",
        f"reach alone ({ALONE} where that is never), each of which is profiled, and how many of those networks none of",
        "the other four had trained: what was trained before [is not trained again](search.md#no-training-twice).",
        "",
        f"| new device | seeds | alone, {FEW} | with transfer, {FEW} | alone, {ALONE} | profiles | trainings |",
        "|---|---|---|---|---|---|---|",
        *(_row(device, [one for one in lines if one["device"] == device]) for device in FLEET),
        _row("**mean**", lines),
    ]


def _compared(device: str, seed: int, before: dict[str, Rows]) -> dict[str, Any]:
    given = on_device(device)
    others = [before[other] for other in FLEET if other != device]
    known = [one for rows in others for one in rows]
    transfer = merged([one for rows in others for one in told(rows, given)])
    found = _search(given, ALONE, seed, transfer=transfer, trained=trained(known, given))
    goal = _reached(given, before[device])
    needed = next((n for n in range(1, ALONE) if _reached(given, found[:n]) >= goal), ALONE)
    return {
        "device": device,
        "seed": seed,
        "alone_few": _reached(given, before[device][:FEW]),
        "with_few": _reached(given, found[:FEW]),
        "alone": goal,
        "profiles": needed,
        "trainings": len(newly(found[:needed], given, known, given)),
    }


def _search(given: Problem, budget: int, seed: int, **further: list[dict[str, Any]]) -> Rows:
    """``further``: of the generator's specification."""
    spec = given.spec(budget=budget, batch=BATCH) | {"generator": "hwnas"} | further
    return searched(AskTell(spec, seed), given, budget)


def _reached(given: Problem, rows: Rows) -> float:
    return round(given.reached([values for _, values in rows]), 4)


def _keep(line: dict[str, Any]) -> None:
    with _LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    print(line, file=sys.stderr)


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    seeds = sorted({one["seed"] for one in lines})
    digits = {"alone_few": 3, "with_few": 3, "alone": 3, "profiles": 0, "trainings": 0}
    means = [f"{np.mean([one[key] for one in lines]):.{n}f}" if lines else "-" for key, n in digits.items()]
    return f"| {name} | {', '.join(map(str, seeds)) or '-'} | {' | '.join(means)} |"
