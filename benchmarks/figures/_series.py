"""Record the series of ``benchmarks/tables/series.csv``, which the tests of change points read.

python -m benchmarks.figures._series       some minutes

One network is profiled again and again: what differs is the machine's noise, which is real. Changes are added to it:
the column ``made`` says what, night by night.
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
from devices.measure import profile
from devices.plan import Job, Plan
from devices.session import connect
from profiles.files import write_text

FILE = Path(__file__).resolve().parent.parent / "tables" / "series.csv"
NIGHTS = 16
STEP = 0.25  # of a changed level
PLAN = Plan(processes=2, groups=2, block_ms=8.0, warm_up_ms=10.0, memory=False)

Night = tuple[float, float]  # log of the ratio to calibration, its standard error
Row = tuple[Night, str, str]  # and the environment, and how it was made


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nights = _nights(_nets.stack(Path(folder) / "net.onnx", layers=20, channels=16, side=12))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["series", "night", "environment", "log_ratio", "sem", "made"])
    for name, rows in series(nights):
        for night, ((value, sem), environment, made) in enumerate(rows):
            writer.writerow([name, night, environment, f"{value:.6f}", f"{sem:.6f}", made])
    write_text(FILE, buffer.getvalue())


def series(nights: Sequence[Night]) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of each."""
    generator = np.random.default_rng(0)
    yield "none", [_night(night) for night in nights]
    yield "step up", [_night(night, STEP * (i >= 9)) for i, night in enumerate(nights)]
    yield "step down", [_night(night, STEP * (i < 7)) for i, night in enumerate(nights)]
    yield "two steps", [_night(night, STEP * ((i >= 5) + 2 * (i >= 10))) for i, night in enumerate(nights)]
    yield "level back to normal", [_night(night, STEP * (5 <= i < 10)) for i, night in enumerate(nights)]
    noise = 0.03 * generator.standard_normal(NIGHTS)
    yield "noisy step", [_night(night, noise[i] + 2 * STEP * (i >= 8)) for i, night in enumerate(nights)]
    yield "short", [_night(night, STEP * (i >= 4)) for i, night in enumerate(nights[:9])]
    environments = ["old"] * 8 + ["new"] * 8
    stepped = [_night(night, STEP * (i >= 8)) for i, night in enumerate(nights)]
    yield (
        "fingerprint change",
        [(night, new, made) for (night, _, made), new in zip(stepped, environments, strict=True)],
    )
    yield "drift", [_night(night, 0.02 * i) for i, night in enumerate(nights)]
    yield (
        "outliers",
        [_night(night, (0.6 + 0.3 * generator.random()) * (i in (3, 8, 9, 14))) for i, night in enumerate(nights)],
    )


def _night(night: Night, added: float = 0.0) -> Row:
    value, sem = night
    return (value + math.log1p(added), sem), "one", f"{100 * added:.0f} % added" if added else "measured"


def _nights(model: Path) -> list[Night]:
    fleet = load_fleet()
    found = []
    with connect(fleet.device(LOCAL), LOCAL) as session:
        for night in range(NIGHTS):
            print(f"night {night + 1} of {NIGHTS}", file=sys.stderr)
            one = profile(session, Job(model=model, name=model.stem), fleet.target(LOCAL), plan=PLAN)
            ratio = one.latency_ms_calibrated / one.calibration.reference_ms
            found.append((math.log(ratio), one.latency_ms_sem / one.latency_ms_calibrated))
    return found


if __name__ == "__main__":
    main()
