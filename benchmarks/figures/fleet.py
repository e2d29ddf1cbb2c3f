"""How a fleet is driven: by null devices, which take a fixed time and no CPU. What is seen is the controller."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import devices
from devices.everywhere import profile_everywhere
from devices.fleet import load_fleet
from devices.plan import Job
from profiles.store import Store

_MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
_PASSES = 5  # requests of one profile: parity, three of latency, memory
CANDIDATES = 50  # for each board
CANDIDATE_MS = 1000.0  # of a network, it takes some 3500
MANY = ((200, 10_000, 2000.0), (1000, 5000, 20_000.0))  # boards, jobs, ms of a job


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """``busy``: the share of the wall time that each board worked, the least of them. ``cpu_ms``: for one job."""

    wall_s: float
    busy: float
    cpu_ms: float
    peak_mb: float
    once: bool


def take() -> list[str]:
    lines = [
        "# A fleet of null devices",
        "",
        "`python -m benchmarks.bench fleet`:",
        f"{CANDIDATES} candidates for each board of a pool; each takes {CANDIDATE_MS:g} ms there. Busy: the share",
        "of the wall time in which a board worked, the least of them. CPU: of the controller, for one candidate.",
        "",
        "| boards | candidates | wall | throughput | busy | CPU | each exactly once in the store |",
        "|---|---|---|---|---|---|---|",
    ]
    first: Driven | None = None
    for boards in (1, 2, 4):
        found = drive(boards, boards * CANDIDATES, CANDIDATE_MS)
        first = first or found
        lines.append(
            f"| {boards} | {boards * CANDIDATES} | {found.wall_s:.1f} s | x {boards * first.wall_s / found.wall_s:.2f} "
            f"| {found.busy:.1%} | {found.cpu_ms:.1f} ms | {_yes(found.once)} |"
        )
    lines.append("")
    for boards, jobs, job_ms in MANY:
        found = drive(boards, jobs, job_ms)
        lines.append(
            f"{boards} boards, {jobs:,} jobs of {job_ms:g} ms by one controller: {found.wall_s:.0f} s, "
            f"{found.cpu_ms:.1f} ms of CPU a job, {found.peak_mb:.0f} MB at most, "
            f"each exactly once: {_yes(found.once)}."
        )
    return lines


def drive(boards: int, jobs: int, job_ms: float) -> Driven:
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        folder = Path(scratch)
        keys = f'transport = "null"\ntime_ms = {job_ms / _PASSES}\npool = "pool"\n'
        path = folder / "fleet.toml"
        names = [f"n{number}" for number in range(boards)]
        path.write_text(
            "".join(f"[devices.{name}]\n{keys}" for name in names) + '[targets.x]\ndevice = "pool"\nengine = "null"\n'
        )
        fleet = load_fleet(path)
        work = [Job(model=_MODEL, name=str(number)) for number in range(jobs)]
        done: Counter[str] = Counter()
        with Store(folder / "store.db") as store:
            # The reference takes 20 requests of each board once; it is no part of the work.
            list(profile_everywhere(fleet, work[:boards], [fleet.target("x")], store, label="first"))
            start, cpu = time.monotonic(), time.process_time()
            for outcome in profile_everywhere(fleet, work, [fleet.target("x")], store, label="bench"):
                done[outcome.board] += 1
                if sys.stderr.isatty() and done.total() % 50 == 0:
                    print(f"\r{boards} boards: {done.total()} of {jobs}", end="", file=sys.stderr)
            wall_s, cpu_s = time.monotonic() - start, time.process_time() - cpu
            stored = Counter(model for model, _, _ in store.measured("bench"))
        if sys.stderr.isatty():
            print(file=sys.stderr)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return Driven(
        wall_s=wall_s,
        busy=min(done[name] for name in names) * job_ms / 1e3 / wall_s,
        cpu_ms=cpu_s / jobs * 1e3,
        peak_mb=peak_mb,
        once=stored == Counter(job.name for job in work),
    )


def _yes(true: bool) -> str:
    return "yes" if true else "NO"
