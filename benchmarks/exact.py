"""Search problems whose every answer is known, from the tables in ``benchmarks/tables`` (see its README).

What a search reached is the hypervolume of what it evaluated, as a share of that of the whole table: exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.generators import Limit, Objective
from nas.pareto import front, hypervolume

_TABLES = Path(__file__).parent / "tables"
_OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
_EDGES = ["op_1_0", "op_2_0", "op_2_1", "op_3_0", "op_3_1", "op_3_2"]

# space, objectives (the first is maximised, the others are minimised), limits: (metric, its percentile in the table)
_PROBLEMS: dict[str, tuple[str, list[str], list[tuple[str, float]]]] = {
    "c10-2080ti": ("nb201", ["c10_val", "lat_2080ti_1"], []),
    "in16-gold6226": ("nb201", ["in16_val", "lat_gold_6226"], []),
    "c10-a50": ("nb201", ["c10_val", "lat_samsung_a50"], []),
    "macro-flops": ("macro", ["acc", "flops_m"], []),
    "c10-gold6226-a50": ("nb201", ["c10_val", "lat_gold_6226", "lat_samsung_a50"], []),
    "in16-titan-limit-a50": ("nb201", ["in16_val", "lat_titan_rtx_1"], [("lat_samsung_a50", 30)]),
}
NAMES = tuple(_PROBLEMS)
# What was looked at while the generator was designed. The others were only reported.
DESIGN = ("c10-2080ti", "macro-flops", "in16-titan-limit-a50")


@dataclass(frozen=True, slots=True)
class Problem:
    """``reference``: the table's median accuracy, and 1.1 times what the most accurate network that fits takes."""

    name: str
    space: str
    parameters: list[dict[str, Any]]
    objectives: list[Objective]
    limits: list[Limit]
    reference: dict[str, float]
    total: float  # hypervolume of the whole table
    rows: Mapping[tuple[Any, ...], dict[str, float]]  # choices -> metrics

    def spec(self, *, budget: int, batch: int) -> dict[str, Any]:
        """As ``nas.generate.parse`` takes it."""
        return {
            "space": self.space,
            "parameters": self.parameters,
            "objectives": [{"name": o.name, "goal": o.goal, "threshold": o.threshold} for o in self.objectives],
            "constraints": [{"name": limit.name, "op": limit.op, "bound": limit.bound} for limit in self.limits],
            "budget": budget,
            "batch": batch,
        }

    def values(self, config: Mapping[str, Any]) -> dict[str, float]:
        return self.rows[tuple(config[parameter["name"]] for parameter in self.parameters)]

    def reached(self, evaluated: Sequence[Mapping[str, float]]) -> float:
        """0 to 1."""
        return hypervolume(evaluated, self.objectives, self.reference, self.limits) / self.total


@cache
def problem(name: str) -> Problem:
    return _problem(name, *_PROBLEMS[name])


@cache
def on_device(device: str) -> Problem:
    """Accuracy on CIFAR-10 against the latency on any device of the table of NAS-Bench-201."""
    return _problem(device, "nb201", ["c10_val", f"lat_{device}"], [])


def _problem(name: str, space: str, metrics: list[str], percentiles: list[tuple[str, float]]) -> Problem:
    table, parameters = cells() if space == "nb201" else _macro()
    limits = [Limit(name=m, op="<=", bound=float(np.percentile(table[m], p))) for m, p in percentiles]
    fits = np.all([table[limit.name] <= limit.bound for limit in limits], axis=0) if limits else slice(None)
    feasible = table[fits]
    best = feasible.loc[feasible[metrics[0]].idxmax()]
    reference = {metrics[0]: float(table[metrics[0]].median())} | {m: 1.1 * float(best[m]) for m in metrics[1:]}
    objectives = [Objective(name=m, goal="min", threshold=reference[m]) for m in metrics]
    objectives[0] = Objective(name=metrics[0], goal="max", threshold=reference[metrics[0]])
    wanted = list(dict.fromkeys([*metrics, *(limit.name for limit in limits)]))
    keys = table[[p["name"] for p in parameters]].itertuples(index=False, name=None)
    rows = dict(zip(keys, table[wanted].astype(float).to_dict("records"), strict=True))
    values = list(rows.values())
    members = [values[index] for index in front(values, objectives, limits)]
    total = hypervolume(members, objectives, reference, limits)
    return Problem(name, space, parameters, objectives, limits, reference, total, rows)


@cache
def cells() -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """All of NAS-Bench-201, and its parameters."""
    table = pd.read_csv(_TABLES / "nb201_dev.csv.gz", keep_default_na=False, na_values=[""])
    return table, [{"name": edge, "values": _OPERATIONS, "ordered": False} for edge in _EDGES]


@cache
def _macro() -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    table = pd.read_csv(_TABLES / "macro.csv.gz", dtype={"arch": str})
    blocks = [f"b{block}" for block in range(8)]
    table[blocks] = [list(arch) for arch in table["arch"]]
    table["flops_m"] = table["flops"] / 1e6
    return table, [{"name": block, "values": ["0", "1", "2"], "ordered": True} for block in blocks]
