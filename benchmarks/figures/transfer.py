"""What is an earlier search on another device worth? Searches on exact tables that begin with one, and without.

Each (problem, seed) is one line of ``docs/results-transfer.jsonl``; lines that are there are not taken again. Those
without a transfer are those of ``docs/results-search.jsonl``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import Problem, problem
from benchmarks.figures._units import lines_of
from benchmarks.minutes import over_after
from benchmarks.peers import METHODS, Optimiser
from nas.generate import AskTell

_DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_LINES = _DOCS / "results-transfer.jsonl"

# A new device, and the one that was searched before, on the same data.
PAIRS = {
    "c10-2080ti": "c10-a50",
    "in16-gold6226": "in16-titan-limit-a50",
    "c10-a50": "c10-2080ti",
    "c10-gold6226-a50": "c10-2080ti",
    "in16-titan-limit-a50": "in16-gold6226",
}
BEFORE, BUDGET, BATCH, SEEDS = 60, 100, 2, 3
AT = (10, 25, 50, 100)

Rows = list[tuple[dict[str, Any], dict[str, float]]]
Curves = Mapping[tuple[str, int], list[float]]  # by problem and seed


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    over = over_after(minutes)
    taken = {(line["problem"], line["seed"]): line["curve"] for line in lines_of(_LINES)}
    for seed in range(SEEDS):
        for name in PAIRS:
            if (name, seed) in taken or over():
                continue
            curve = taken[name, seed] = run(name, seed)
            with _LINES.open("a") as lines:
                lines.write(json.dumps({"problem": name, "seed": seed, "curve": curve}) + "\n")
            print(f"{name}, seed {seed}: {curve}", file=sys.stderr)
    without = {
        (line["problem"], line["seed"]): line["curve"]
        for line in lines_of(_DOCS / "results-search.jsonl")
        if line["method"] == "hwnas"
    }
    return [
        "# Transfer between devices on exact tables",
        "",
        f"`python -m benchmarks.bench transfer`: a search by `hwnas` that begins with {BEFORE} networks of an earlier",
        "search on another device and the same data, by one-edge evolution, beside `hwnas` without, of",
        "[results-search.md](results-search.md). Share of the true hypervolume after so many evaluations, the mean of",
        "the seeds that are named, which both have.",
        "",
        f"| problem | earlier search | seeds | {' | '.join(f'{n}, without | with' for n in AT)} |",
        "|---|---|---|" + "---|" * 2 * len(AT),
        *(_row(name, without, taken) for name in PAIRS),
    ]


def run(name: str, seed: int) -> list[float]:
    """What was reached after 5, 10, 15, ... evaluations."""
    given = problem(name)
    spec = given.spec(budget=BUDGET, batch=BATCH)
    search = AskTell(spec | {"generator": "hwnas", "transfer": transferred(name, seed)}, seed)
    evaluated = [values for _, values in searched(search, given, BUDGET)]
    return [round(given.reached(evaluated[:n]), 4) for n in range(5, BUDGET + 1, 5)]


def transferred(name: str, seed: int) -> list[dict[str, Any]]:
    before = problem(PAIRS[name])
    search = METHODS["one-edge evolution"](before.spec(budget=BEFORE, batch=BATCH), 1000 + seed)
    return told(searched(search, before, BEFORE), problem(name))


def told(rows: Rows, given: Problem) -> list[dict[str, Any]]:
    """What the ``rows`` of another device's search say for ``given``, as ``nas.generate.parse`` takes it.

    Accuracies are of the same name; a latency tells of every latency.
    """
    return [
        {
            "metric": metric,
            "from": known,
            "alike": known if known == metric and not metric.startswith("lat_") else None,
            "choices": [config for config, _ in rows],
            "values": [values[known] for _, values in rows],
        }
        for metric in dict.fromkeys([*(o.name for o in given.objectives), *(limit.name for limit in given.limits)])
        for known in rows[0][1]
        if known == metric or (known.startswith("lat_") and metric.startswith("lat_"))
    ]


def searched(search: Optimiser, given: Problem, budget: int) -> Rows:
    """Candidates and their values, in the order in which they were proposed."""
    rows: Rows = []
    while len(rows) < budget:
        asked = [(config, given.values(config)) for config in search.ask(BATCH)]
        search.tell([{"config": config, "values": values} for config, values in asked])
        rows += asked
    return rows


def _row(name: str, without: Curves, taken: Curves) -> str:
    seeds = sorted(seed for problem, seed in taken.keys() & without.keys() if problem == name)
    cells = [
        f"{np.mean([curves[name, seed][n // 5 - 1] for seed in seeds]):.3f}" if seeds else "-"
        for n in AT
        for curves in (without, taken)
    ]
    return f"| {name} | {PAIRS[name]} | {', '.join(map(str, seeds)) or '-'} | {' | '.join(cells)} |"
