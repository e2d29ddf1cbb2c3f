"""How good is a search after so many trainings? The generators of hwnas beside others, on exact tables.

Each (method, problem, seed) is one line of ``docs/results-search.jsonl``; lines that are there are not taken again, so
this goes on where it was stopped. For a part of the work:

    HWNAS_BENCH_METHODS="hwnas;random" HWNAS_BENCH_SEEDS=2 python -m benchmarks.bench search
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exact import DESIGN, NAMES, problem
from benchmarks.figures._units import lines_of
from benchmarks.peers import METHODS, SLOW
from profiles.errors import HwnasError

_DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_LINES = _DOCS / "results-search.jsonl"
_PLOT = _DOCS / "images" / "results-search.svg"

BUDGET, BATCH, SEEDS = 100, 2, 10
AT = (25, 50, 100)
# Ax and SAASBO: on these problems, with these seeds, for this long of processor time at the most.
SLOW_PROBLEMS, SLOW_SEEDS, SLOW_S = ("c10-2080ti", "macro-flops"), 2, 1800.0


def take() -> list[str]:
    """Runs what is missing, then the table and the plot of all that there is."""
    for method, name, seed in _wanted():
        try:
            line = run(method, name, seed)
        except HwnasError as error:
            print(f"{method} on {name}: {error}", file=sys.stderr)
            continue
        with _LINES.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        print(f"{method}, {name}, seed {seed}: {line['curve'][-1]:.3f}, {line['step_s']:.2f} s a step", file=sys.stderr)
    taken = lines_of(_LINES)
    _draw(taken)
    return [
        "# Search quality on exact tables",
        "",
        f"`make bench-search`: the share of the true hypervolume after {', '.join(map(str, AT))} evaluations,",
        f"{BATCH} at a time; mean over seeds, and their tenth percentile. Tables and licences: `benchmarks/tables`.",
        f"The design of `hwnas` was fixed while looking at {', '.join(DESIGN)}; two faults were mended",
        f"after all had been seen. {' and '.join(SLOW)} have at most {SLOW_S / 60:.0f} minutes of processor time a",
        "search: what had been reached then is in the last column. Seconds a step are wall time, one thread, whatever",
        "else the machine did (side by side: [results-steps.md](results-steps.md)); a network's features are read once",
        "for all seeds of a space.",
        "",
        "![Share of the true hypervolume against evaluations](images/results-search.svg)",
        "",
        *_table(taken),
    ]


def run(method: str, name: str, seed: int) -> dict[str, Any]:
    """One search. Shorter than the budget where a slow method's time is up."""
    given = problem(name)
    search = METHODS[method](given.spec(budget=BUDGET, batch=BATCH), seed)
    evaluated: list[dict[str, float]] = []
    configs: set[tuple[Any, ...]] = set()
    waited_s, computed_s, steps = 0.0, 0.0, 0
    while len(evaluated) < BUDGET and not (method in SLOW and computed_s > SLOW_S):
        begun, computed = time.perf_counter(), time.process_time()
        asked = search.ask(min(BATCH, BUDGET - len(evaluated)))
        results = [{"config": config, "values": given.values(config)} for config in asked]
        search.tell(results)
        waited_s, steps = waited_s + time.perf_counter() - begun, steps + len(asked)
        computed_s += time.process_time() - computed
        evaluated += [given.values(config) for config in asked]
        configs.update(tuple(sorted(config.items())) for config in asked)
    curve = [round(given.reached(evaluated[:n]), 4) for n in range(5, len(evaluated) + 1, 5)]
    duplicates = len(evaluated) - len(configs)
    return {
        "method": method,
        "problem": name,
        "seed": seed,
        "curve": curve,
        "duplicates": duplicates,
        "step_s": round(waited_s / steps, 4),
    }


def _wanted() -> Iterator[tuple[str, str, int]]:
    """Seed by seed, so that a part of the work already compares all methods."""
    there = {(line["method"], line["problem"], line["seed"]) for line in lines_of(_LINES)}
    methods = os.environ.get("HWNAS_BENCH_METHODS")
    seeds = int(os.environ.get("HWNAS_BENCH_SEEDS", SEEDS))
    for seed in range(seeds):
        for method in methods.split(";") if methods else METHODS:
            slow = method in SLOW
            if slow and seed >= SLOW_SEEDS:
                continue
            for name in SLOW_PROBLEMS if slow else NAMES:
                if (method, name, seed) not in there:
                    yield method, name, seed


def _table(taken: list[dict[str, Any]]) -> list[str]:
    rows = []
    for name in NAMES:
        columns = " | ".join(f"{n} | p10" for n in AT)
        rows += [f"## {name}", "", f"| method | seeds | {columns} | s a step | duplicates | cut off |"]
        rows += ["|---|" + "---|" * 10]
        for method in METHODS:
            lines = [line for line in taken if line["method"] == method and line["problem"] == name]
            if not lines:
                continue
            cells = [f"{mean:.3f} | {low:.3f}" if np.isfinite(mean) else "- | -" for mean, low in _summary(lines)]
            step = np.mean([line["step_s"] for line in lines])
            twice = np.mean([line["duplicates"] for line in lines])
            ended = _ended(lines)
            rows.append(f"| {method} | {len(lines)} | {' | '.join(cells)} | {step:.3f} | {twice:.1f} | {ended} |")
        rows.append("")
    return rows


def _ended(lines: list[dict[str, Any]]) -> str:
    """What the searches had reached whose time was up, and after how many evaluations, to 5."""
    short = [(line["curve"][-1], 5 * len(line["curve"])) for line in lines if len(line["curve"]) < BUDGET // 5]
    return ", ".join(f"{share:.3f} after {n}" for share, n in short)


def _summary(lines: list[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """(mean, tenth percentile) after each of ``AT``, of the runs that came so far; nan where none did."""
    for n in AT:
        values = [line["curve"][n // 5 - 1] for line in lines if len(line["curve"]) >= n // 5]
        yield (float(np.mean(values)), float(np.quantile(values, 0.1))) if values else (np.nan, np.nan)


def _draw(taken: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "hwnas"  # equal figures give equal files
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), sharex=True, layout="constrained")
    for place, name in zip(axes.flat, NAMES, strict=True):
        place.set_title(name)
        for method in METHODS:
            curves = [line["curve"] for line in taken if line["method"] == method and line["problem"] == name]
            whole = [curve for curve in curves if len(curve) == max(map(len, curves))]
            if whole:
                mean = np.mean(whole, axis=0)
                wide = 2.5 if method == "hwnas" else 1.2
                place.plot(5 * np.arange(1, len(mean) + 1), mean, label=method, linewidth=wide)
        place.set_ylim(0, 1)
        place.grid(alpha=0.3)
    figure.supxlabel("evaluations")
    figure.supylabel("share of the true hypervolume")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    _PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(_PLOT, metadata={"Date": None})
    pyplot.close(figure)
