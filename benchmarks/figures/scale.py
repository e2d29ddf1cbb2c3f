"""How far one controller, several of them, and a store go: a null trainer, null devices, tiny networks.

    python -m benchmarks.bench scale --minutes 6

10,000 trials take 5 to 15 minutes; the next call goes on with them (``runs/scale``). The rest takes two minutes more.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import _null
from benchmarks.figures._server import Server, postgres
from benchmarks.figures._units import lines_of
from benchmarks.minutes import over_after
from devices.fleet import load_fleet
from nas.results import read_results
from nas.study_file import load_study
from profiles.errors import Interrupted, MeasurementError, UnavailableError
from profiles.records import Profile
from profiles.store import Store

RUN = Path("runs") / "scale"
TRIALS, EVERY = 10_000, 500
TOGETHER = 200  # trials of each of two controllers
PROFILES = 10_000


def take(minutes: float | None = None) -> list[str]:
    samples = _search(over_after(minutes))
    lines = [
        "# Scale",
        "",
        "`python -m benchmarks.bench scale`: a table in place of training, a null device that answers at once,",
        "networks of two layers, random candidates. What is left is the controller: export, requests, files, events.",
        "",
        "## One controller",
        "",
        "| trials | CPU a trial | wall a trial | memory |",
        "|---|---|---|---|",
    ]
    for sample in samples:
        lines.append(
            f"| {sample['from']} to {sample['to']} | {sample['cpu_ms']:.0f} ms | {sample['wall_ms']:.0f} ms "
            f"| {sample['memory_mb']:.0f} MB |"
        )
    if not samples or samples[-1]["to"] < TRIALS:
        lines += ["", f"**Not yet all {TRIALS:,}**: the same command goes on."]
    try:
        with postgres() as server:
            return [*lines, "", *_two(server), "", *_stores(server.url)]
    except UnavailableError as error:
        return [*lines, "", f"Without PostgreSQL ({error}):", "", *_stores(None)]


def _search(over: Callable[[], bool]) -> list[dict[str, float]]:
    """One sample for ``EVERY`` trials, those of earlier calls included."""
    from nas.run import run_study

    RUN.mkdir(parents=True, exist_ok=True)
    kept = RUN / "samples.jsonl"
    path = _null.write_study(RUN)
    sys.path.append(str(RUN.absolute()))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(RUN.absolute()), os.environ.get("PYTHONPATH", "")])
    study = load_study(path, {"budget.trials": str(TRIALS)})
    last: dict[str, float] = {}

    def hear(kind: str, trial: int | None, data: Mapping[str, Any]) -> None:
        if kind != "completed" or trial is None:
            return
        now = {"to": trial + 1, "cpu": time.process_time(), "wall": time.monotonic()}
        if not last:
            last.update(now)
        elif (trial + 1) % EVERY == 0:
            done = now["to"] - last["to"]
            sample = {"from": last["to"], "to": now["to"], "memory_mb": _memory_mb()}
            sample |= {f"{key}_ms": 1e3 * (now[key] - last[key]) / done for key in ("cpu", "wall")}
            with kept.open("a") as file:
                file.write(json.dumps(sample) + "\n")
            last.update(now)
            if over():
                raise KeyboardInterrupt

    try:
        run_study(study, out=RUN / "run", fleet=load_fleet(RUN / "fleet.toml"), resume=True, listener=hear)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
    return lines_of(kept)


def _two(server: Server) -> list[str]:
    """Two controllers of one study, whose events lie in PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        folder = Path(scratch)
        _null.write_study(folder)
        options = ["--resume", "--trials", str(2 * TOGETHER), "--store", server.url]
        begun = time.monotonic()
        both = {log: _null.start(folder, options, log) for log in ("one", "other")}
        codes = {log: process.wait() for log, process in both.items()}
        wall_s = time.monotonic() - begun
        for log, code in codes.items():
            if code:
                said = " ".join((folder / log).read_text().split())[-500:]
                raise MeasurementError(f"a controller failed with exit code {code}: {said}")
        os.environ["PGPASSWORD"] = server.password
        sys.path.append(str(folder))
        results = read_results(folder / "runs" / "null")
    kinds = Counter((event.trial, event.kind) for event in results.events if event.trial is not None)
    once = all(
        kinds[index, kind] == 1 for index in range(2 * TOGETHER) for kind in ("proposed", "profiled", "completed")
    )
    different = len({trial.digest for trial in results.trials}) == len(results.trials) == 2 * TOGETHER
    shares = Counter(event.data["by"] for event in results.events if event.kind == "completed")
    return [
        "## Two controllers on PostgreSQL",
        "",
        f"{2 * TOGETHER} trials in {wall_s:.0f} s, starting included, {' and '.join(map(str, shares.values()))} each;",
        f"each candidate proposed, measured and completed exactly once: {'yes' if once and different else 'NO'}.",
    ]


def _stores(url: str | None) -> list[str]:
    """``PROFILES`` profiles of 2,000 raw times each."""
    raw = json.loads((RUN / "run" / "trials" / "0" / "profile-null.json").read_text())
    profile = Profile.from_dict(raw)
    times = tuple(1_000_000 + 37 * (n * n % 1009) for n in range(500))
    blocks = tuple(dataclasses.replace(block, latencies_ns=times) for block in profile.blocks[:4])
    lines = [
        f"## Stores of {PROFILES:,} profiles",
        "",
        "2,000 raw times each, in 100 studies; one of them read with its 100 profiles, and 1,000 events of it.",
        "",
        "| store | size | adding a profile | profiles of a study | its events | opening |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        for name, place in (("SQLite", Path(scratch) / "store.db"), ("PostgreSQL", url)):
            if place is None:
                continue
            with Store(place) as store:
                begun = time.monotonic()
                for number in range(PROFILES):
                    one = dataclasses.replace(profile, digest=f"{number:064x}", blocks=blocks)
                    store.add_profile(one, study=f"s{number % 100}", trial=number)
                add_ms = 1e3 * (time.monotonic() - begun) / PROFILES
                for number in range(1000):
                    store.append("s99", "profiled", number, {"metrics": {"latency_ms@null": 1.0}, "sems": {}})
                profiles_ms = _ms(lambda store=store: store.profiles(study="s99"))
                events_ms = _ms(lambda store=store: store.events("s99"))
                open_ms = _ms(lambda place=place: Store(place).close())
                size_mb = store.size_mb()
            lines.append(
                f"| {name} | {size_mb:.0f} MB | {add_ms:.1f} ms | {profiles_ms:.0f} ms | {events_ms:.0f} ms "
                f"| {open_ms:.0f} ms |"
            )
    return lines


def _ms(call: Any) -> float:
    begun = time.monotonic()
    call()
    return 1e3 * (time.monotonic() - begun)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
