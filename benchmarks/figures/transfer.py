"""What is an earlier search on another device worth? Searches on exact tables that begin with one, and without.

Each (problem, seed) is one line of ``docs/results-transfer.jsonl``; lines that are there are not taken again. Those
without a transfer are those of ``docs/results-search.jsonl``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import problem
from benchmarks.peers import METHODS
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


def take(minutes: float | None = None) -> list[str]:
    """``minutes``: no further search is begun after that."""
    begun = time.monotonic()
    for seed in range(SEEDS):
        for name in PAIRS:
            if (name, seed) not in {(line["problem"], line["seed"]) for line in _read(_LINES)}:
                if minutes is not None and time.monotonic() - begun > 60 * minutes:
                    continue
                line = {"problem": name, "seed": seed, "curve": run(name, seed)}
                with _LINES.open("a") as lines:
                    lines.write(json.dumps(line) + "\n")
                print(f"{name}, seed {seed}: {line['curve']}", file=sys.stderr)
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
        *(_row(name) for name in PAIRS),
    ]


def run(name: str, seed: int) -> list[float]:
    """What was reached after 5, 10, 15, ... evaluations."""
    given = problem(name)
    spec = given.spec(budget=BUDGET, batch=BATCH)
    search = AskTell(spec | {"generator": "hwnas", "transfer": transferred(name, seed)}, seed)
    evaluated: list[dict[str, float]] = []
    while len(evaluated) < BUDGET:
        asked = search.ask(BATCH)
        search.tell([{"config": config, "values": given.values(config)} for config in asked])
        evaluated += [given.values(config) for config in asked]
    return [round(given.reached(evaluated[:n]), 4) for n in range(5, BUDGET + 1, 5)]


def transferred(name: str, seed: int) -> list[dict[str, Any]]:
    """Accuracies are of the same name; a latency tells of every latency."""
    before = problem(PAIRS[name])
    search = METHODS["one-edge evolution"](before.spec(budget=BEFORE, batch=BATCH), 1000 + seed)
    rows: list[tuple[dict[str, Any], dict[str, float]]] = []
    while len(rows) < BEFORE:
        asked = [(config, before.values(config)) for config in search.ask(BATCH)]
        search.tell([{"config": config, "values": values} for config, values in asked])
        rows += asked
    given = problem(name)
    return [
        {"metric": metric, "choices": [config for config, _ in rows], "values": [values[known] for _, values in rows]}
        for metric in dict.fromkeys([*(o.name for o in given.objectives), *(limit.name for limit in given.limits)])
        for known in rows[0][1]
        if known == metric or (known.startswith("lat_") and metric.startswith("lat_"))
    ]


def _row(name: str) -> str:
    curves = {line["seed"]: line["curve"] for line in _read(_LINES) if line["problem"] == name}
    without = {
        line["seed"]: line["curve"]
        for line in _read(_DOCS / "results-search.jsonl")
        if (line["method"], line["problem"]) == ("hwnas", name)
    }
    seeds = sorted(curves.keys() & without.keys())
    cells = [
        f"{np.mean([one[seed][n // 5 - 1] for seed in seeds]):.3f}" if seeds else "-"
        for n in AT
        for one in (without, curves)
    ]
    return f"| {name} | {PAIRS[name]} | {', '.join(map(str, seeds)) or '-'} | {' | '.join(cells)} |"


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
