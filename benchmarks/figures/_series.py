"""Record the series of ``benchmarks/tables/series.csv``, which the tests of change points read.

python -m benchmarks.figures._series       some 4 minutes

Three networks, of 20, 21 and 22 equal layers, are profiled side by side again and again, first as the machine is, then
with a busy process that comes and goes. A series is put together from these figures: "step up" has those of the first
network and then those of the second, each at the moment when it was measured. What is not measured but added or
replaced is said in the column ``made``.
"""

from __future__ import annotations

import csv
import io
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from benchmarks.figures import _nets
from benchmarks.figures._load import busy
from devices.fleet import LOCAL, load_fleet
from devices.measure import Job, Plan, profile_all
from devices.session import connect
from profiles.files import write_text
from profiles.records import Profile

FILE = Path(__file__).resolve().parent.parent / "tables" / "series.csv"
NIGHTS = 30
LAYERS = (20, 21, 22)
PLAN = Plan(processes=3, groups=2, block_ms=10.0, memory=False)

Night = tuple[float, float]  # log of the ratio to calibration, its standard error
Row = tuple[Night, str, str]  # and the environment, and how it was made


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = [_nets.stack(Path(folder) / f"{n}.onnx", layers=n, channels=16, side=12) for n in LAYERS]
        quiet, loaded = _nights(models, loaded=False), _nights(models, loaded=True)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["series", "night", "environment", "log_ratio", "sem", "made"])
    for name, rows in _series(quiet, loaded):
        for night, ((value, sem), environment, made) in enumerate(rows):
            writer.writerow([name, night, environment, f"{value:.6f}", f"{sem:.6f}", made])
    write_text(FILE, buffer.getvalue())


def _nights(models: Sequence[Path], *, loaded: bool) -> list[list[Night]]:
    """Of each model, night after night."""
    fleet = load_fleet()
    target = fleet.target(LOCAL)
    jobs = [Job(model=path, name=path.stem) for path in models]
    found: list[list[Night]] = [[] for _ in jobs]
    with connect(fleet.device(LOCAL), LOCAL) as session, busy() if loaded else nullcontext():
        for night in range(NIGHTS):
            print(f"{'loaded' if loaded else 'quiet'} night {night}", file=sys.stderr)
            for number, one in enumerate(profile_all(session, jobs, target, plan=PLAN)):
                if not isinstance(one, Profile):
                    raise one
                ratio = one.latency_ms_calibrated / one.calibration.reference_ms
                found[number].append((math.log(ratio), one.latency_ms_sem / one.latency_ms_calibrated))
    return found


def _series(quiet: Sequence[Sequence[Night]], loaded: Sequence[Sequence[Night]]) -> Iterator[tuple[str, list[Row]]]:
    a, b, c = quiet
    generator = np.random.default_rng(0)
    yield "none", _measured(a)
    yield "step up", _measured([*a[:18], *b[18:]])
    yield "step down", _measured([*b[:12], *a[12:]])
    yield "two steps", _measured([*a[:10], *b[10:20], *c[20:]])
    yield "level back to normal", _measured([*a[:10], *b[10:20], *a[20:]])
    yield "noisy step", _measured([*loaded[0][:15], *loaded[2][15:]])
    yield "short", _measured([*a[:4], *b[4:9]])
    environments = ["old"] * 15 + ["new"] * 15
    yield "fingerprint change", [(n, e, "measured") for n, e in zip([*a[:15], *b[15:]], environments, strict=True)]
    yield "drift", [((v + 0.003 * i, s), "one", "0.3 % a night added") for i, (v, s) in enumerate(a)]
    spoilt = [((v + 0.2 + 0.1 * generator.random(), s), "one", "20 to 30 % added") for v, s in a]
    chosen = set(generator.choice(NIGHTS, size=5, replace=False).tolist())
    yield "outliers", [spoilt[i] if i in chosen else row for i, row in enumerate(_measured(a))]


def _measured(nights: Sequence[Night]) -> list[Row]:
    return [(night, "one", "measured") for night in nights]


if __name__ == "__main__":
    main()
