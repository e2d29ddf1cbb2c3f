"""How good is a search in a space of 120 choices? Every generator of hwnas that copes, beside others.

    python -m benchmarks.bench many --minutes 30

The space and its two metrics, which are made up: ``_deep.py``. Each (method, seed) is one line of
``docs/results-many.jsonl``; lines that are there are not taken again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import _deep
from benchmarks.figures._units import lines_of
from benchmarks.minutes import over_after
from benchmarks.peers import METHODS, SLOW
from nas.generators import Objective
from nas.pareto import hypervolume
from profiles.errors import HwnasError

_LINES = Path(__file__).resolve().parents[2] / "docs" / "results-many.jsonl"
BUDGET, BATCH, MOST_S = 300, 2, 1800.0
SEEDS, SLOW_SEEDS = 3, 1
AT = (50, 100, 200, 300)
_CORNER = {"score": 0.7, "ms": 20.0}  # random candidates reach 0.75 and 17 in the median
_OBJECTIVES = [
    Objective(name="score", goal="max", threshold=_CORNER["score"]),
    Objective(name="ms", goal="min", threshold=_CORNER["ms"]),
]
_COMPARED = (
    "hwnas", "hwnas, choices alone", "Optuna TPE", "Optuna NSGA-II", "pymoo NSGA-II", "one-edge evolution", "random",
    "Ax", "SAASBO",
)  # fmt: skip


def spec() -> dict[str, Any]:
    """As ``nas.generate.parse`` takes it."""
    return {
        "space": _deep.__name__ + ":space",
        "parameters": [{"name": p.name, "values": list(p.values), "ordered": p.ordered} for p in _deep.parameters],
        "objectives": [{"name": o.name, "goal": o.goal, "threshold": o.threshold} for o in _OBJECTIVES],
        "input_shape": list(_deep.INPUT),
        "outputs": _deep.OUTPUTS,
        "budget": BUDGET,
        "batch": BATCH,
    }


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    over = over_after(minutes)
    for method, seed in _missing():
        if over():
            break
        try:
            line = run(method, seed)
        except (HwnasError, ImportError) as error:
            print(f"{method}: {error} (extras: bench, saasbo)", file=sys.stderr)
            continue
        with _LINES.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        print(f"{method}, seed {seed}: {len(line['found'])} in {line['seconds']:.0f} s", file=sys.stderr)
    return _page(lines_of(_LINES))


def run(method: str, seed: int) -> dict[str, Any]:
    """One search, cut off after ``MOST_S`` of its own time. ``found``: [score, ms] of each network, in turn."""
    search = METHODS[method](spec(), seed)
    found: list[list[float]] = []
    spent = 0.0
    while len(found) < BUDGET and spent < MOST_S:
        start = time.perf_counter()
        asked = search.ask(min(BATCH, BUDGET - len(found)))
        spent += time.perf_counter() - start
        results = [{"config": config, "values": _deep.values(_deep.canonical(config))} for config in asked]
        start = time.perf_counter()
        search.tell(results)
        spent += time.perf_counter() - start
        found += [[round(one["values"][o.name], 5) for o in _OBJECTIVES] for one in results]
    return {"method": method, "seed": seed, "seconds": round(spent, 1), "found": found}


def _missing() -> Iterator[tuple[str, int]]:
    """Seed by seed, so that a part of the work already compares all methods."""
    there = {(line["method"], line["seed"]) for line in lines_of(_LINES)}
    seeds = {method: SLOW_SEEDS if method in SLOW else SEEDS for method in _COMPARED}
    wanted = ((method, seed) for seed in range(SEEDS) for method in _COMPARED if seed < seeds[method])
    return (one for one in wanted if one not in there)


def _page(taken: list[dict[str, Any]]) -> list[str]:
    every = _volume([pair for line in taken for pair in line["found"]])
    lines = [
        "# A space of many choices",
        "",
        f"`python -m benchmarks.bench many`: {len(_deep.parameters)} choices, block by block of a deep `mbconv`, a",
        f"made-up score against a made-up latency (`benchmarks/figures/_deep.py`); {BUDGET} evaluations, {BATCH} at a",
        f"time, {MOST_S / 60:.0f} minutes of a search's own time at most. Share of the hypervolume of all that any",
        "method found, the mean over seeds that got so far, and the least of them; then where it got to, and what",
        "hwnas has after as many. Seconds a step are wall time; a network's features are read once for all seeds, so",
        "the first one pays for most of them.",
        "",
        f"| method | seeds | {' | '.join(f'{n} | least' for n in AT)}"
        " | evaluations | at its end | hwnas there | s a step |",
        "|---|---|" + "---|" * (2 * len(AT) + 4),
    ]
    ours = [line for line in taken if line["method"] == _COMPARED[0]]
    for method in _COMPARED:
        own = [line for line in taken if line["method"] == method]
        if own:
            lines.append(_row(method, own, ours, every))
    return lines


def _row(method: str, own: list[dict[str, Any]], ours: list[dict[str, Any]], every: float) -> str:
    cells = []
    for n in AT:
        shares = [_volume(line["found"][:n]) / every for line in own if len(line["found"]) >= n]
        cells += [f"{np.mean(shares):.3f}", f"{min(shares):.3f}"] if shares else ["-", "-"]
    counts = [len(line["found"]) for line in own]
    cells.append(str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}")
    cells.append(f"{np.mean([_volume(line['found']) / every for line in own]):.3f}")
    there = [_volume(line["found"][:n]) / every for n in counts for line in ours]
    cells.append(f"{np.mean(there):.3f}" if there else "-")
    step_s = np.mean([line["seconds"] / len(line["found"]) for line in own])
    return f"| {method} | {len(own)} | {' | '.join(cells)} | {step_s:.2f} |"


def _volume(found: list[list[float]]) -> float:
    rows = [{o.name: value for o, value in zip(_OBJECTIVES, pair, strict=True)} for pair in found]
    return hypervolume(rows, _OBJECTIVES, _CORNER)
