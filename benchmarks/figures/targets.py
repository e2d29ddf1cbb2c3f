"""The reference models on the targets that a machine without a GPU has, each against ONNX Runtime in fp32.

    python -m benchmarks.bench targets --minutes 8

One model is one unit, appended to ``docs/results-targets.jsonl``; the next call goes on. About half an hour in all on
two cores, nearly all of it for torch: it is imported, and each model compiled, in every fresh process.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import compare, measuring
from benchmarks.figures._units import Result, Units
from benchmarks.side_by_side import heads_of, rows_of, slower_when_narrower
from devices.duet import DuetPlan
from nas import models

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results-targets.jsonl"
BUDGET_S = 3.0
FLEET = """
[targets.onnxruntime]
[targets.onnxruntime-int8]
precision = "int8"
[targets.openvino]
engine = "openvino"
[targets.torch]
engine = "torch"
[targets.torch-compiled]
engine = "torch"
provider = "cpu-compile"
"""


def take(minutes: float | None = None) -> list[str]:
    """The page, from what is there after ``minutes``."""
    units = Units(RESULTS, minutes, [Path(__file__)])
    with tempfile.TemporaryDirectory(prefix="hwnas-bench-") as folder:
        path = Path(folder) / "fleet.toml"
        path.write_text(FLEET)
        for name in models.names():
            units.do(name, 1, partial(_compared, name, path))
    lines = [
        "# The reference models on the targets of a CPU",
        "",
        f"`python -m benchmarks.bench targets`: one thread, batch 1, at most {BUDGET_S:g} s for the latency of a model"
        " or a pair. What the columns mean: [targets.md](targets.md#side-by-side).",
    ]
    for name in models.names():
        for found in units.of(name):
            lines += ["", f"## {name}", "", *_table(found)]
    if missing := [name for name in models.names() if not units.of(name)]:
        lines += ["", f"**Still missing**: {', '.join(missing)}; the same command goes on with them."]
    return lines


def _compared(name: str, fleet: Path, number: int) -> Result:
    """In the store of the working folder, so that the calibration model is timed once for each target."""
    targets = [line[len("[targets.") : -1] for line in FLEET.splitlines() if line.startswith("[")]
    setting = measuring.Setting.of([name], targets, fleet, None, None, {}, measuring.STORE)
    with measuring.bench(setting) as here:
        work = compare.Work(here, DuetPlan(budget_s=BUDGET_S))
        work.compare(setting.targets)
    rows = [[cell.replace("|", "/") for cell in row] for row in rows_of(work.sides)]
    remarks = [*slower_when_narrower(work.sides), *map(str, work.errors)]
    return {"heads": heads_of(work.sides), "rows": rows, "remarks": remarks}


def _table(found: Result) -> list[str]:
    """Markdown; columns in which nothing was measured are left out."""
    if "error" in found:
        return [found["error"]]
    kept = [place for place in range(len(found["heads"])) if any(row[place] != "-" for row in found["rows"])]
    rows = [found["heads"], ["---"] * len(found["heads"]), *found["rows"]]
    table = ["| " + " | ".join(row[place] for place in kept) + " |" for row in rows]
    return [*table, *(line for remark in found["remarks"] for line in ("", f"{remark}."))]
