"""Does the nightly alarm cry wolf, and does it find what is there? Nights of six models beside a busy process.

    python -m benchmarks.bench nights --minutes 8

Every night exports all models again, so that no file is that of its baseline and all are measured. 20 nights change
nothing. Then, as from night 12 on: one network has a layer more (5 % more work), one a table of some 10 % of its
memory, and one weights that a faulty export has flipped. A night takes some 70 s; units are appended and the next call
goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import _load, _nets
from benchmarks.figures._units import Result, Units
from benchmarks.nightly import words
from benchmarks.nightly.judgements import OUTPUT, counted
from benchmarks.nightly.night import watch
from benchmarks.nightly.watched import setting_of
from benchmarks.pages.words import label
from benchmarks.tables import duration

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results-nights.jsonl"
UNCHANGED, FIRST_CHANGED, CHANGED = 20, 12, 3

# name: layers, channels, side; 0.1 to 1.3 ms
NETS = {
    "twenty": (20, 16, 14), "thirty_three": (33, 16, 14), "wide": (8, 128, 7),
    "half": (8, 32, 28), "deep": (24, 24, 14), "one": (16, 32, 28),
}  # fmt: skip
SLOWER, HUNGRIER, WRONG = "twenty", "wide", "half"
EXPECTED = sorted([[HUNGRIER, "peak_memory_mb"], [SLOWER, "latency_ms"], [WRONG, OUTPUT]])
TABLE_MB = 0.9  # 10 % of the peak memory, which holds it more than once while it is loaded
SUITE = """
name = "nights"
models = [{models}]
[metrics]
latency_ms = "2%"
peak_memory_mb = "5%"
"""


def take(minutes: float | None = None) -> list[str]:
    """The page, from what is there after ``minutes``."""
    here = Path(__file__).parent
    code = [here / "nights.py", here / "_nets.py", here / "_load.py"]
    code += [here.parent / "nightly" / f"{name}.py" for name in ("judgements", "metrics", "judging", "night")]
    units = Units(RESULTS, minutes, code)
    with tempfile.TemporaryDirectory(prefix="hwnas-nights-") as folder:
        street = Street(Path(folder))
        for night in range(1, UNCHANGED + 1):
            units.do("unchanged", night, lambda n: street.night(n, changed=False))
            units.do("changed", round(CHANGED * night / UNCHANGED), lambda n: street.night(n, changed=True))
    return _page(units)


class Street:
    """A folder of models with a suite and a store; its baselines are kept in a first night that is no unit."""

    def __init__(self, folder: Path, nets: Sequence[str] = tuple(NETS), more_layers: int = 1) -> None:
        """``more_layers``: of the network that becomes slower; one of 20 is 5 % more work."""
        self._folder = folder
        self._nets = nets
        self._more_layers = more_layers
        models = ", ".join(f'{{model = "{name}.onnx", same_outputs = {str(name == WRONG).lower()}}}' for name in nets)
        (folder / "suite.toml").write_text(SUITE.format(models=models))

    def night(self, number: int, *, changed: bool) -> Result:
        """The night with this seed, beside the busy process."""
        if not (self._folder / "hwnas.db").exists():
            self._export("0", changed=False)
            self._watch(0)
        self._export(f"{number} {changed}", changed=changed)
        with _load.busy(seed=number):
            return self._watch(number)

    def _watch(self, seed: int) -> Result:
        suite, store = self._folder / "suite.toml", self._folder / "hwnas.db"
        with setting_of(suite, {}, fleet=None, store=str(store)) as setting:
            night, _ = watch(setting, max_undecided=1.0, seed=10_000 * seed)
        judged = counted(night.judgements)
        return {
            "code": night.code,
            "alarms": sorted([Path(one.model).stem, one.metric] for one in judged if one.alarm),
            "open": [f"{one.model} {one.metric}: {one.verdict} {one.reason}" for one in judged if not one.judged],
            "judgements": len(judged),
            "changes": {f"{Path(one.model).stem} {one.metric}": words.change(one) for one in judged},
        }

    def _export(self, version: str, *, changed: bool) -> None:
        """All files anew: equal networks, bytes of their own."""
        import onnx

        for name in self._nets:
            path, (layers, channels, side) = self._folder / f"{name}.onnx", NETS[name]
            more = self._more_layers if changed and name == SLOWER else 0
            model = onnx.load(_nets.stack(path, layers=layers + more, channels=channels, side=side))
            model.producer_name, model.producer_version = "nights", version
            if changed and name in _FAULTS:
                _FAULTS[name](model.graph)
            path.write_bytes(model.SerializeToString(deterministic=True))


def _page(units: Units) -> list[str]:
    """Markdown."""
    done = {kind: [one for one in units.of(kind) if "error" not in one] for kind in ("unchanged", "changed")}
    failed = [one for one in units.results if "error" in one]
    quiet, found = done["unchanged"], done["changed"]
    lines = [
        "# Nights that are simulated",
        "",
        "`python -m benchmarks.bench nights`, explained in [nightly.md](nightly.md): six models, exported anew each"
        " night, beside one process that is busy for 0.5 to 4 s and rests as long; with the budget and floors of a"
        " suite that names none.",
    ]
    if quiet or found:
        lines += ["", "| figure | found | wanted | nights |", "|---|---|---|---|"]
    lines += _quiet(quiet) if quiet else []
    lines += _found(found) if found else []
    seconds = [one["seconds"] for one in (*quiet, *found)]
    if seconds:
        lines += ["", f"A night takes {duration(float(np.median(seconds)))} (median), code version `{units.version}`."]
    missing = UNCHANGED + CHANGED - len(quiet) - len(found) - len(failed)
    if missing > 0:
        lines += ["", f"**{missing} nights are still missing**: the same command goes on with them."]
    lines += [""] if failed or any(one["open"] for one in (*quiet, *found)) else []
    lines += [f"- open: {line}" for one in (*quiet, *found) for line in one["open"]]
    lines += [f"- {one['kind']} night gave nothing: {one['error']}" for one in failed]
    return lines


def _quiet(nights: Sequence[Result]) -> list[str]:
    count, asked = len(nights), len(nights) * len(NETS)
    alarms = sum(len(one["alarms"]) for one in nights)
    open_pairs = sum(len({line.split()[0] for line in one["open"]}) for one in nights)
    return [
        f"| alarms in nights that change nothing | {alarms} | 0 | {count} |",
        f"| of {asked} pairs of model and night, undecided or not judged | {open_pairs} | at most 5 % | {count} |",
    ]


def _found(nights: Sequence[Result]) -> list[str]:
    count, exact = len(nights), sum(one["alarms"] == EXPECTED for one in nights)
    what = f"nights from the {FIRST_CHANGED}th on in which just the three changes were found"
    lines = [f"| {what} | {exact} | all | {count} |"]
    for model, metric in EXPECTED:
        hits = sum([model, metric] in one["alarms"] for one in nights)
        seen = ", ".join(sorted(one["changes"].get(f"{model} {metric}", "-") for one in nights))
        lines.append(f"| of them, {label(metric)} of `{model}` found ({seen}) | {hits} | all | {count} |")
    return lines


def _flip(graph: Any) -> None:
    """The weights of the first convolution, along both of their axes in space."""
    from onnx import numpy_helper

    first = graph.initializer[0]
    weights = numpy_helper.to_array(first)[:, :, ::-1, ::-1]
    first.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), first.name))


def _table(graph: Any) -> None:
    """Rows of zeros, of which the output looks one up and adds it, as of an embedding: memory that takes no time."""
    from onnx import helper, numpy_helper

    channels = graph.initializer[0].dims[0]
    table = np.zeros((round(TABLE_MB * 1e6 / 4 / channels), channels), dtype=np.float32)
    shape = np.array([-1, channels, 1, 1], dtype=np.int64)
    graph.initializer.extend([numpy_helper.from_array(table, "table"), numpy_helper.from_array(shape, "shape")])
    graph.node[-1].output[0] = "pooled"
    graph.node.extend(
        [
            helper.make_node("ArgMax", ["pooled"], ["row"], name="row", axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "row"], ["looked_up"], name="look_up", axis=0),
            helper.make_node("Reshape", ["looked_up", "shape"], ["shaped"], name="reshape"),
            helper.make_node("Add", ["pooled", "shaped"], ["output"], name="add"),
        ]
    )


_FAULTS: dict[str, Callable[[Any], None]] = {HUNGRIER: _table, WRONG: _flip}
