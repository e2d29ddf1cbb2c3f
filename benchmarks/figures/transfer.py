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
from nas.pareto import broken
from profiles.records import digest_of

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
TRAINED = 25  # of so many candidates the page says how many were trained

Rows = list[tuple[dict[str, Any], dict[str, float]]]
Curves = Mapping[tuple[str, int], list[float]]  # by problem and seed


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    over = over_after(minutes)
    there = {(line["problem"], line["seed"]) for line in lines_of(_LINES)}
    for seed in range(SEEDS):
        for name in PAIRS:
            if (name, seed) in there or over():
                continue
            line = run(name, seed)
            with _LINES.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
            print(line, file=sys.stderr)
    taken = {(line["problem"], line["seed"]): line for line in lines_of(_LINES)}
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
        f"the seeds that are named, which both have; and how many of the first {TRAINED} with it the earlier search",
        "had not trained, so that they must be now.",
        "",
        f"| problem | earlier search | seeds | {' | '.join(f'{n}, without | with' for n in AT)} | trainings |",
        "|---|---|---|---|" + "---|" * 2 * len(AT),
        *(_row(name, without, taken) for name in PAIRS),
    ]


def run(name: str, seed: int) -> dict[str, Any]:
    """``curve``: what was reached after 5, 10, 15, ... evaluations."""
    given, before = problem(name), problem(PAIRS[name])
    earlier = METHODS["one-edge evolution"](before.spec(budget=BEFORE, batch=BATCH), 1000 + seed)
    known = searched(earlier, before, BEFORE)
    spec = given.spec(budget=BUDGET, batch=BATCH) | {"generator": "hwnas"}
    search = AskTell(spec | {"transfer": told(known, given), "trained": trained(known, before)}, seed)
    found = searched(search, given, BUDGET)
    evaluated = [values for _, values in found]
    return {
        "problem": name,
        "seed": seed,
        "curve": [round(given.reached(evaluated[:n]), 4) for n in range(5, BUDGET + 1, 5)],
        "trainings": len(newly(found[:TRAINED], given, known, before)),
    }


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


def trained(rows: Rows, given: Problem) -> list[dict[str, Any]]:
    """Candidates whose training is there, as ``nas.generate.parse`` takes them: those that keep the limits."""
    return [
        {"choices": config, "values": {name: v for name, v in values.items() if not name.startswith("lat_")}}
        for config, values in rows
        if not any(broken(values, limit) for limit in given.limits)
    ]


def newly(found: Rows, given: Problem, known: Rows, before: Problem) -> list[dict[str, Any]]:
    """Those that a search has to train, after one on ``before``."""
    there = {digest_of(one["choices"]) for one in trained(known, before)}
    return [one for one in trained(found, given) if digest_of(one["choices"]) not in there]


def searched(search: Optimiser, given: Problem, budget: int) -> Rows:
    """Candidates and their values, in the order in which they were proposed."""
    rows: Rows = []
    while len(rows) < budget:
        asked = [(config, given.values(config)) for config in search.ask(BATCH)]
        search.tell([{"config": config, "values": values} for config, values in asked])
        rows += asked
    return rows


def _row(name: str, without: Curves, taken: Mapping[tuple[str, int], dict[str, Any]]) -> str:
    seeds = sorted(seed for problem, seed in taken.keys() & without.keys() if problem == name)
    with_it = {key: line["curve"] for key, line in taken.items()}
    cells = [
        f"{np.mean([curves[name, seed][n // 5 - 1] for seed in seeds]):.3f}" if seeds else "-"
        for n in AT
        for curves in (without, with_it)
    ]
    cells.append(f"{np.mean([taken[name, seed]['trainings'] for seed in seeds]):.0f}" if seeds else "-")
    return f"| {name} | {PAIRS[name]} | {', '.join(map(str, seeds)) or '-'} | {' | '.join(cells)} |"
