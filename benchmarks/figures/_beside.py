"""hwnas and the plain C loop in turns, in the short blocks that hwnas times models with.

    python -m benchmarks.figures._beside LOOP MODEL NUMBER DIM...

In one fresh process, so that both meet the same core and the same minute; which is loaded first alternates with NUMBER.
Prints a JSON object: ``c_us``, the loop's median, and ``log_ratios``, hwnas over the loop in each undisturbed group.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.figures import _baseline
from devices import blocks, disturbance, inputs, loading
from devices.engines import Loaded, onnxruntime
from profiles import statistics
from profiles.records import Arm, Block, Target

_GROUPS, _BLOCK_MS, _WARM_UP_MS = 24, 5.0, 50.0
_TARGET = Target(name="local", device="local")


def main(library: Path, path: Path, number: int, shape: tuple[int, ...]) -> dict[str, object]:
    if number % 2:
        model, times_ns = _ours(path, number, shape), _baseline.loop(library, path, shape)
    else:
        times_ns, model = _baseline.loop(library, path, shape), _ours(path, number, shape)
    sources = disturbance.Sources()
    prime = loading.empty(onnxruntime, _TARGET).run
    ours = blocks.arm(model.run, block_ms=_BLOCK_MS, warm_up_ms=_WARM_UP_MS, reading=sources.read, prime=prime)
    gc.collect()
    gc.disable()

    def theirs(count: int) -> tuple[tuple[int, ...], disturbance.Reading, disturbance.Reading]:
        before = sources.read()
        return times_ns(count), before, sources.read()

    arms = {"other": ours, "base": blocks.Arm(runs=ours.runs, time=theirs)}
    found = blocks.measure(arms, groups=_GROUPS, max_groups=2 * _GROUPS, seed=number)
    timed = [
        Block(
            process=0,
            group=one.group,
            arm=cast(Arm, one.arm),
            latencies_ns=one.latencies_ns,
            disturbed=bool(one.reasons),
        )
        for one in found
    ]
    (ratios,) = statistics.group_log_ratios(timed, "other", "base") or [np.empty(0)]
    of_loop = [time for one in found if one.arm == "base" for time in one.latencies_ns]
    return {"c_us": float(np.median(of_loop)) / 1e3, "log_ratios": ratios.tolist()}


def _ours(path: Path, number: int, shape: tuple[int, ...]) -> Loaded:
    model = onnxruntime.load(path, _TARGET)
    model.bind(inputs.random_inputs(model.inputs, {model.inputs[0].name: shape}, number))
    return model


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(Path(given[0]), Path(given[1]), int(given[2]), tuple(map(int, given[3:])))))
