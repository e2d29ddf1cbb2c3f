"""How long a search thinks: processor time from one result to the next proposal.

A step is `tell` of one result and `ask` for the next candidate, one thread. The first step after what was told at once
is not counted: it imports, reads the networks' features and fits from nothing.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.exact import cells, problem
from nas.generate import AskTell
from nas.spaces import Choice, find_space

STEPS = 7
SIDE_BY_SIDE = "c10-2080ti"
_LARGE = "mbconv"  # 2.55e11 combinations

Spec = dict[str, Any]
Values = Callable[[Mapping[str, Any]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """``told`` random candidates are known before the first step."""

    title: str
    spec: Spec
    values: Values
    told: int


def take() -> list[str]:
    os.environ["OMP_NUM_THREADS"] = "1"  # as in the process of a search; read when torch is first imported
    beside = problem(SIDE_BY_SIDE)
    spec = beside.spec(budget=0, batch=1)
    small = Case("two objectives, a space of 15,625", spec, beside.values, 100)
    ours, ax = step_s([(small, "hwnas"), (small, "ax")])
    rows = [_row(small, "hwnas", ours), _row(small, "ax", ax)]
    for case in (_pool(), _long()):
        rows.append(_row(case, "hwnas", step_s([(case, "hwnas")])[0]))
    return [
        "# How long a search thinks",
        "",
        "`python -m benchmarks.bench steps`: processor time from one result to the next proposal, one thread;",
        f"the median of {STEPS}, and the longest. The first two rows took turns, step by step; the first step of each",
        "is not counted.",
        "",
        "| what | known | generator | s a step | longest |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"A step of hwnas takes {np.median(ours) / np.median(ax):.2f} of one of Ax's default.",
    ]


def step_s(searches: list[tuple[Case, str]]) -> list[list[float]]:
    """``STEPS`` seconds of each (case, generator), in turns."""
    begun = [_begun(case, generator) for case, generator in searches]
    results: list[Any] = [
        _results(case.values, search.ask(1)) for (case, _), search in zip(searches, begun, strict=True)
    ]
    found: list[list[float]] = [[] for _ in searches]
    for _ in range(STEPS):
        for number, ((case, _), search) in enumerate(zip(searches, begun, strict=True)):
            start = time.process_time()
            search.tell(results[number])
            asked = search.ask(1)
            found[number].append(time.process_time() - start)
            results[number] = _results(case.values, asked)
    return found


def _begun(case: Case, generator: str) -> AskTell:
    search, chosen = AskTell(case.spec | {"generator": generator}, seed=0), random.Random(0)
    parameters = case.spec["parameters"]
    configs = [{p["name"]: chosen.choice(p["values"]) for p in parameters} for _ in range(case.told)]
    search.tell(_results(case.values, configs))
    return search


def _results(values: Values, configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"config": config, "values": values(config)} for config in configs]


def _pool() -> Case:
    """Choices alone: a random sample of 20,000 beside the neighbours of the front. Both metrics are made up."""
    space = find_space(_LARGE)
    choices = [one for one in space.parameters if isinstance(one, Choice)]
    generator = np.random.default_rng(0)
    weights = {c.name: dict(zip(c.values, generator.normal(size=(len(c.values), 2)), strict=True)) for c in choices}

    def values(config: Mapping[str, Any]) -> dict[str, float]:
        worth, costs = np.sum([weights[name][value] for name, value in config.items()], axis=0)
        return {"worth": float(np.tanh(worth / 5)), "costs": float(np.exp(costs / 5))}

    spec = {
        "parameters": [{"name": c.name, "values": list(c.values), "ordered": c.ordered} for c in choices],
        "objectives": [{"name": "worth", "goal": "max"}, {"name": "costs", "goal": "min"}],
    }
    return Case(f"two objectives, {len(choices)} choices alone, a pool of 20,000", spec, values, 100)


def _long() -> Case:
    table, parameters = cells()
    metrics = ["c10_val", "lat_2080ti_1", "lat_gold_6226", "lat_samsung_a50"]
    names = [p["name"] for p in parameters]
    rows = {tuple(row[name] for name in names): {m: float(row[m]) for m in metrics} for row in table.to_dict("records")}
    spec = {
        "space": "nb201",
        "parameters": parameters,
        "objectives": [{"name": m, "goal": "min" if m != metrics[0] else "max"} for m in metrics[:3]],
        "constraints": [{"name": metrics[3], "op": "<=", "bound": float(table[metrics[3]].quantile(0.3))}],
    }
    return Case(
        "three objectives and a limit, a space of 15,625", spec, lambda c: rows[tuple(c[name] for name in names)], 1000
    )


def _row(case: Case, generator: str, seconds: list[float]) -> str:
    return f"| {case.title} | {case.told} | {generator} | {np.median(seconds):.2f} | {max(seconds):.2f} |"
