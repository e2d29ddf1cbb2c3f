"""Record the series of ``benchmarks/tables/series.csv``, which the tests of change points read.

python -m benchmarks.figures._series       some minutes

Two networks, of 20 and 21 equal layers, are profiled side by side again and again. A series is put together from these
figures: "step up" has those of the first network and then those of the second, each at the moment when it was measured.
What is not measured but added is said in the column ``made``.
"""

from __future__ import annotations

import csv
import io
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.figures import _nets
from devices.fleet import LOCAL, load_fleet
from devices.measure import Job, Plan, profile_all
from devices.session import connect
from profiles.files import write_text
from profiles.records import Profile

FILE = Path(__file__).resolve().parent.parent / "tables" / "series.csv"
NIGHTS = 16
LAYERS = (20, 21)
PLAN = Plan(processes=2, groups=2, block_ms=8.0, warm_up_ms=10.0, memory=False)

Night = tuple[float, float]  # log of the ratio to calibration, its standard error
Row = tuple[Night, str, str]  # and the environment, and how it was made


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = [_nets.stack(Path(folder) / f"{n}.onnx", layers=n, channels=16, side=12) for n in LAYERS]
        nights = _nights(models)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["series", "night", "environment", "log_ratio", "sem", "made"])
    for name, rows in _series(*nights):
        for night, ((value, sem), environment, made) in enumerate(rows):
            writer.writerow([name, night, environment, f"{value:.6f}", f"{sem:.6f}", made])
    write_text(FILE, buffer.getvalue())


def _nights(models: Sequence[Path]) -> list[list[Night]]:
    """Of each model, night after night."""
    fleet = load_fleet()
    target = fleet.target(LOCAL)
    jobs = [Job(model=path, name=path.stem) for path in models]
    found: list[list[Night]] = [[] for _ in jobs]
    with connect(fleet.device(LOCAL), LOCAL) as session:
        for night in range(NIGHTS):
            print(f"night {night + 1} of {NIGHTS}", file=sys.stderr)
            for number, one in enumerate(profile_all(session, jobs, target, plan=PLAN)):
                if not isinstance(one, Profile):
                    raise one
                ratio = one.latency_ms_calibrated / one.calibration.reference_ms
                found[number].append((math.log(ratio), one.latency_ms_sem / one.latency_ms_calibrated))
    return found


def _series(a: Sequence[Night], b: Sequence[Night]) -> Iterator[tuple[str, list[Row]]]:
    """``a``: of the first network, ``b``: of the second."""
    generator = np.random.default_rng(0)
    yield "none", _measured(a)
    yield "step up", _measured([*a[:9], *b[9:]])
    yield "step down", _measured([*b[:7], *a[7:]])
    layer = math.log(22 / 21)
    third = [((value + layer, sem), "one", "a layer's time added") for value, sem in b]
    yield "two steps", [*_measured([*a[:5], *b[5:10]]), *third[10:]]
    yield "level back to normal", _measured([*a[:5], *b[5:10], *a[10:]])
    noise = 0.01 * generator.standard_normal(NIGHTS)
    noisy = [((value + more, sem), "one", "noise of 1 % added") for (value, sem), more in zip(a, noise, strict=True)]
    higher = [((value + 2 * layer, sem), one, f"{made}, two layers' time too") for (value, sem), one, made in noisy]
    yield "noisy step", [*noisy[:8], *higher[8:]]
    yield "short", _measured([*a[:4], *b[4:9]])
    environments = ["old"] * 8 + ["new"] * 8
    yield "fingerprint change", [(n, e, "measured") for n, e in zip([*a[:8], *b[8:]], environments, strict=True)]
    yield "drift", [((v + 0.005 * i, s), "one", "0.5 % a night added") for i, (v, s) in enumerate(a)]
    spoilt = [((v + 0.2 + 0.1 * generator.random(), s), "one", "20 to 30 % added") for v, s in a]
    yield "outliers", [spoilt[i] if i in (3, 8, 9, 14) else row for i, row in enumerate(_measured(a))]


def _measured(nights: Sequence[Night]) -> list[Row]:
    return [(night, "one", "measured") for night in nights]


if __name__ == "__main__":
    main()
