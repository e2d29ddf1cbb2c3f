"""Do latencies taken during a search agree with those of the idle machine?

During the search they were taken between trainings that were made to stand still. Now every profiled candidate of
``runs/digits`` is measured again, all of them interleaved, with nothing else running.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from devices.fleet import load_fleet
from nas.bench import Bench
from nas.results import account_of, read_results
from profiles.errors import UnavailableError
from profiles.records import Profile
from profiles.store import Store

RUN = Path("runs/digits")
METRIC = "latency_ms@local"


def take() -> list[str]:
    """Raises UnavailableError where there is no run to compare with."""
    if not (RUN / "study.db").exists():
        raise UnavailableError(f"{RUN}: there is no such run; make it with: make search")
    results = read_results(RUN)
    trials = [trial for trial in results.trials if METRIC in trial.metrics]
    fleet = load_fleet()
    with Store(RUN / "study.db") as store, Bench(fleet, {"local": fleet.target("local")}, store, "agreement") as bench:
        paths = [results.folder.trial(trial.index).untrained for trial in trials]
        again = bench.interleaved(paths, "local", [f"digits/{trial.index}" for trial in trials], processes=3)
    pairs = [
        (trial.metrics[METRIC], profile.latency_ms_calibrated)
        for trial, profile in zip(trials, again, strict=True)
        if isinstance(profile, Profile)
    ]
    during, idle = np.array(pairs).T
    ratios = during / idle
    account = account_of(results)
    typical = 100 * math.expm1(np.median(np.abs(np.log(ratios))))
    again_of = f"{len(pairs)} of {len(trials)} candidates measured again"
    apart = f"{idle.min():.3f} to {idle.max():.3f} ms ({idle.max() / idle.min():.0f} times)"
    return [
        "# Latencies of a search against those of the idle machine",
        "",
        f"`make search`, then `python -m benchmarks.bench agreement`: {again_of}, from {apart}.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| median of latency in the search / idle | {np.median(ratios):.4f} |",
        f"| middle half of these ratios | {np.percentile(ratios, 25):.4f} to {np.percentile(ratios, 75):.4f} |",
        f"| rank correlation (Spearman) | {spearmanr(during, idle).statistic:.4f} |",
        f"| typical difference (median of the absolute log ratio) | {typical:.2f} % |",
        f"| time for which jobs stood still | {account['jobs_stopped_s']:.0f} s of {account['jobs_s']:.0f} s |",
        f"| wall time with neither a job nor a measurement | {account['idle_s'] / account['trials']:.2f} s a trial |",
    ]
