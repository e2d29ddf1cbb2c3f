"""A run folder as a search leaves it, made without measuring or training anything: figures come from a formula.

Written through the same store, journal and records that a search uses, so that what reads it reads a real run folder.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nas.folder import RunFolder
from nas.journal import Journal
from nas.results import Results, read_results, write_results
from nas.spaces import canonical, digest, find_space
from nas.study import parameters_of
from nas.study_file import load_study, write_study
from profiles.files import write_json, write_text
from profiles.records import Block, Calibration, Percentiles, Profile, Target
from profiles.store import Store

LIMIT_MS = 0.44
BASELINE = {"width": 64, "stem_stride": 1, "kernel": 5, "depth_1": 2, "expansion_1": 4, "depth_2": 2, "expansion_2": 4}
BASELINE |= {"depth_3": 2, "expansion_3": 1}
STUDY = """
name = "digits"
space = "convnet"
[data]
name = "digits"
[budget]
trials = 24
[search]
initial_trials = 8
[[objective]]
metric = "val_accuracy"
goal = "max"
threshold = 0.90
[[objective]]
metric = "latency_ms@local"
goal = "min"
[[constraint]]
metric = "latency_ms@local"
max = "4x"
"""
WITH_BASELINE = STUDY + "[baseline]\nchoices = " + "{" + ", ".join(f"{k} = {v}" for k, v in BASELINE.items()) + "}\n"
THREE_OBJECTIVES = STUDY + '[[objective]]\nmetric = "model_size_mb"\ngoal = "min"\n'
TWO_TARGETS = STUDY + '[[objective]]\nmetric = "latency_ms@other"\ngoal = "min"\n'
ONE_OBJECTIVE = STUDY.replace('[[objective]]\nmetric = "latency_ms@local"\ngoal = "min"\n', "")

FINGERPRINT = {
    "machine": "x86_64", "cpu": "Example CPU at 2.5 GHz", "cores": 2, "memory_gb": 8, "board": None, "kernel": "6.1.0",
    "governor": "performance", "versions": {"python": "3.11.2", "numpy": "2.4.1", "onnxruntime": "1.32.0"},
}  # fmt: skip


OPERATORS = (
    {"name": "node_conv2d", "operator": "Conv", "provider": "cpu", "time_ms": 0.06, "share": 0.6},
    {"name": "node_conv2d_1", "operator": "Conv", "provider": "cpu", "time_ms": 0.03, "share": 0.3},
    {"name": "node_linear", "operator": "Gemm", "provider": "cpu", "time_ms": 0.01, "share": 0.1},
)


class Example:
    """A run folder that grows by one event after the other, as that of a running search does."""

    def __init__(self, path: Path, study: str = STUDY) -> None:
        path.mkdir(parents=True)
        (path / "study.toml").write_text(study)
        self.study = load_study(path / "study.toml")
        self.folder = RunFolder(path)
        write_study(self.study, self.folder.study)
        self._store = Store(self.folder.database)
        self.journal = Journal(self._store, self.study.name)
        self._random = np.random.default_rng(self.study.seed)

    def start(self, **overrides: Any) -> None:
        """``overrides``: of the target as it is described."""
        target = {"name": "local", "device": "local", "engine": "onnxruntime", "provider": "cpu", "precision": "fp32"}
        target |= {"threads": 1, "batch": 1, "fingerprint": FINGERPRINT} | overrides
        limits = [
            {"name": c.metric, "op": "<=" if c.max is not None else ">=", "bound": LIMIT_MS}
            for c in self.study.constraint
        ]
        targets = dict.fromkeys(self.study.targets, target)
        about = {"targets": targets, "limits": limits, "references_ms": {"local": 0.11}}
        self.journal.append("started", None, **about, parameters=parameters_of(self.study))

    def propose(self, index: int, choices: dict[str, Any] | None = None, source: str | None = None) -> None:
        if source is None:
            source = "sobol" if index < self.study.search.initial_trials else "ax"
        space = find_space(self.study.space)
        if choices is None:
            drawn = {p["name"]: p["values"][self._random.integers(len(p["values"]))] for p in parameters_of(self.study)}
            choices = canonical(space, drawn)
        identity = digest(self.study.space, choices)
        self.journal.append("proposed", index, choices=choices, digest=identity, source=source, seconds=1.0)
        write_json(self.folder.trial(index).candidate, {"schema": 1, "trial": index, "choices": choices})

    def measure(self, index: int, **overrides: Any) -> None:
        params, macs, least_ms = self._cost(index)
        metrics, sems = {"params": params, "macs": macs, "model_size_mb": 4e-6 * params}, {}
        for number, target in enumerate(self.study.targets):
            latency_ms = (1 + number) * least_ms
            profile = profile_of(f"{self.study.name}/{index}", latency_ms, self._random, **overrides)
            write_text(self.folder.trial(index).profile(target), json.dumps(profile.to_dict()) + "\n")
            metrics |= {f"latency_ms@{target}": latency_ms, f"throughput_per_s@{target}": 1000 / latency_ms}
            metrics |= {f"latency_ms.p90@{target}": 1.05 * latency_ms}
            sems[f"latency_ms@{target}"] = profile.latency_ms_sem
        self.journal.append("profiled", index, metrics=metrics, sems=sems, seconds=2.0)

    def train(self, index: int) -> None:
        """To its end, as an ONNX file with its accuracy."""
        self.journal.append("training", index, attempt=0)
        _, macs, _ = self._cost(index)
        accuracy = 0.995 - 0.09 / (1 + macs / 4e5) + self._random.normal(0, 0.003)
        accuracy = round(359 * min(accuracy, 1.0)) / 359
        curve = [accuracy * (1 - 0.8 * math.exp(-0.8 * epoch)) for epoch in range(12)] + [accuracy]
        write_curves(
            self.folder.trial(index).job / "tb", {"val_accuracy": curve, "train_loss": [2.3 * (1 - v) for v in curve]}
        )
        self.folder.trial(index).trained.write_bytes(b"not a network")
        self.journal.append(
            "completed", index, metrics={"val_accuracy": accuracy, "train_loss": 0.02}, train_s=6.0 + macs / 1e6
        )

    def gate(self, index: int, reason: str | None = None) -> None:
        latency_ms = self.journal.trials[index].metrics["latency_ms@local"]
        self.journal.append(
            "gated", index, reason=reason or f"latency_ms@local = {latency_ms:.4g}, the limit is <= {LIMIT_MS}"
        )

    def fail(self, index: int, reason: str, step: str = "training") -> None:
        self.journal.append("failed", index, step=step, reason=reason)

    def run(self, index: int) -> None:
        """One trial, as its latency decides."""
        self.propose(index)
        self.measure(index)
        if self.study.constraint and self.journal.trials[index].metrics["latency_ms@local"] > LIMIT_MS:
            self.gate(index)
        else:
            self.train(index)

    def confirm(self) -> None:
        results = self.results()
        incumbent = [] if results.baseline is None else [results.baseline.index]
        for index in dict.fromkeys([*results.front, *incumbent]):
            trial = self.journal.trials[index]
            test = trial.metrics["val_accuracy"] - 0.004
            metrics = {"test_accuracy_shipped": test, "test_accuracy": test - 0.002, "test_accuracy_sd": 0.0031}
            latency_ms = trial.metrics["latency_ms@local"] * float(self._random.normal(1, 0.005))
            metrics["latency_ms@local"] = latency_ms
            interval = (latency_ms - 0.0016, latency_ms + 0.0016)
            model, random = f"{self.study.name}/{index}", np.random.default_rng(index)
            profile = profile_of(model, latency_ms, random, operators=OPERATORS, latency_ms_ci95=interval)
            write_json(self.folder.trial(index).confirmed("local"), profile.to_dict(raw=False))
            self.journal.append("confirmed", index, metrics=metrics, sems={"latency_ms@local": 0.0007}, reason=None)

    def end(self, reason: str | None = "the budget is used up") -> None:
        """``reason`` ``None``: interrupted."""
        self.journal.append("finished" if reason else "interrupted", None, reason=reason)
        account = {"wall_s": 201.4, "training_s": 124.0, "measuring_s": 61.0, "generating_s": 40.2, "evaluating_s": 8.1}
        account |= {"idle_s": 16.4, "jobs_s": 190.0, "jobs_stopped_s": 58.2}
        self.journal.append("account", None, **account)
        write_results(self.results())

    def results(self) -> Results:
        return read_results(self.folder.path)

    def close(self) -> None:
        self._store.close()

    def _cost(self, index: int) -> tuple[int, int, float]:
        """Parameters, multiply-accumulates and latency in ms of a network like the one chosen."""
        chosen = self.journal.trials[index].choices
        params = macs = 0.0
        for stage, growth in enumerate((1, 2, 4), start=1):
            hidden = chosen["width"] * growth * chosen[f"expansion_{stage}"]
            weights = chosen[f"depth_{stage}"] * hidden * (chosen["width"] * growth * 2 + chosen["kernel"] ** 2)
            params += weights
            macs += weights * (64 / chosen["stem_stride"] ** 2) / 4 ** (stage - 1)
        noise = math.exp(np.random.default_rng(index).normal(0, 0.02))
        return (
            round(params),
            round(macs),
            (0.012 + 0.006 * sum(chosen[f"depth_{i}"] for i in (1, 2, 3)) + macs / 3e7) * noise,
        )


def write_example(path: Path, study: str = WITH_BASELINE) -> Results:
    """A finished search of 24 trials: the incumbent, gated ones, two that failed, a confirmed front."""
    example = Example(path, study)
    example.start()
    for index in range(24):
        if index == 0 and example.study.baseline is not None:
            example.propose(0, dict(example.study.baseline.choices), "baseline")
            example.measure(0)
            example.train(0)
        elif index in (9, 17):
            example.propose(index)
            example.measure(index, flags=("disturbed",))
            example.journal.append("training", index, attempt=0)
            example.fail(
                index,
                ("the loss is nan in epoch 3, step 7; a lower learning rate?", "no answer within 300 s")[index > 9],
            )
        else:
            example.run(index)
    example.confirm()
    example.end()
    example.close()
    return read_results(path)


def profile_of(model: str, latency_ms: float, random: np.random.Generator, **overrides: Any) -> Profile:
    times = tuple(int(ns) for ns in random.normal(latency_ms, 0.01 * latency_ms, 40) * 1e6)
    blocks = tuple(
        Block(process=process, group=0, arm=arm, latencies_ns=times)
        for process in range(3)
        for arm in ("model", "calibration", "calibration", "model")
    )
    measured_ms = float(0.11 * random.normal(1.02, 0.02))
    values: dict[str, Any] = {
        "model": model,
        "digest": "0" * 64,
        "target": Target(name="local", device="local"),
        "device": FINGERPRINT,
        "provider": "CPUExecutionProvider",
        "node_providers": {"CPUExecutionProvider": 17},
        "calibration": Calibration(digest="1" * 64, measured_ms=measured_ms, reference_ms=0.11),
        "latency_ms": Percentiles(p10=0.98 * latency_ms, p50=latency_ms, p90=1.05 * latency_ms, p99=None),
        "latency_ms_calibrated": latency_ms,
        "latency_ms_sem": 0.006 * latency_ms,
        "throughput_per_s": 1000 / latency_ms,
        "samples": 240,
        "load_ms": 3.1,
        "model_size_mb": 0.3,
        "missing": {"power_w": "no meter", "idle_power_w": "no meter", "energy_mj": "no meter"},
        "versions": {"hwnas": "0.1.0"},
        "time": "2026-01-01T00:00:00Z",
        "blocks": blocks,
    }
    return Profile(**(values | overrides))


def write_curves(folder: Path, curves: dict[str, list[float]]) -> None:
    """A TensorBoard file of scalars, as a training job leaves it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True)
    writer = EventFileWriter(str(folder))
    for name, values in curves.items():
        for step, value in enumerate(values, start=1):
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(wall_time=float(step), step=step, summary=summary))
    writer.close()
