"""What is done with one candidate, step by step. Each step's result is a file; where it is there, the step is done.

candidate.json -> untrained.onnx -> profile-<target>.json -> (gate) -> job/ -> trained.onnx -> metrics.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from devices.engines import ONNX, PROGRAM
from devices.parity import agreement, judge
from nas import baseline
from nas.bench import Bench
from nas.data import Dataset
from nas.earlier import digest_of_script, identity
from nas.export import OUTPUT, count, export_onnx, export_program, load_weights, reference_output
from nas.folder import TrialFolder
from nas.generators import Limit
from nas.journal import Trial
from nas.pareto import broken
from nas.precision import PRECISION, without_precision
from nas.spaces import SearchSpace, build
from nas.study import Study
from nas.training.score import NAMES, score
from nas.training.table import Table
from profiles import files
from profiles.errors import TrialError
from profiles.records import METRICS, Profile

PARITY_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class Candidates:
    """All that the steps of one study's candidates share."""

    study: Study
    space: SearchSpace
    data: Dataset
    bench: Bench
    table: Table | None = None  # where metrics come from instead of from training
    content: tuple[str, str] | None = None  # digests of data and space; None: no training is taken for another

    def write(self, trial: Trial, path: Path, seed: int) -> None:
        """The file that a training script reads; see docs/own-training.md."""
        study = self.study
        files.write_json(
            path,
            {
                "schema": 1,
                "study": study.name,
                "trial": trial.index,
                "space": study.space,
                "choices": without_precision(trial.choices) if study.quantise else trial.choices,
                "digest": trial.digest,
                "seed": seed,
                "data": study.data.model_dump(),
                "train": study.train.model_dump(include={"epochs", "batch_size", "learning_rate", "cpus", "gpus"}),
                "training": self._training(trial, seed),
            },
        )

    def _training(self, trial: Trial, seed: int) -> str | None:
        """Its identity, by the script as it is now."""
        if self.content is None or not trial.of_space:
            return None
        try:
            content = (*self.content, digest_of_script(self.study))
        except OSError:  # the training will say so
            return None
        return identity(self.study, trial.choices, seed, content)

    def profile(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        """Metrics and standard errors of the untrained network: static ones, and those of every target.

        Raises TrialError, MeasurementError or UnavailableError; then there is no figure at all.
        """
        if not trial.of_space:
            return self._profile_file(trial, folder)
        torch.manual_seed(self.study.seed)  # the same weights as in a file that an earlier run left
        module = build(self.space, trial.choices, self.data.input_shape, self.data.outputs)
        self._export(module, folder.untrained)
        params, macs = count(module, self.data.input_shape)
        precision = self.precision(trial)
        shipped = self.bench.artifact(folder.untrained, self.study.targets[0], precision)
        size_mb = _size_mb(shipped)
        metrics: dict[str, float] = {"params": params, "macs": macs, "model_size_mb": size_mb}
        x = self.data.x_val[:PARITY_SAMPLES]
        values, sems = self._targets(trial, folder, folder.untrained, (x, reference_output(module, x)))
        return metrics | values, sems

    def _profile_file(self, trial: Trial, folder: TrialFolder) -> tuple[dict[str, float], dict[str, float]]:
        """Of a baseline that is an ONNX file. Its copy in the run folder is what counts from now on."""
        if not folder.trained.exists():
            baseline.place(self.incumbent, folder.trained)
        counted = baseline.count(folder.trained)
        shipped = self.bench.artifact(folder.trained, self.study.targets[0], self.precision(trial))
        if shipped != folder.trained:  # another precision, as of candidates
            counted["model_size_mb"] = _size_mb(shipped)
        values, sems = self._targets(trial, folder, folder.trained, None)
        return counted | values, sems

    def _targets(
        self, trial: Trial, folder: TrialFolder, onnx: Path, reference: tuple[Any, Any] | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        """``reference``: inputs and the outputs that are right for them, as in ``Bench.profile``."""
        metrics: dict[str, float] = {}
        sems: dict[str, float] = {}
        precision = self.precision(trial)
        shipped = {name: self.bench.artifact(onnx, name, precision) for name in self.study.targets}
        stored = {name: self._stored(folder.profile(name), file) for name, file in shipped.items()}
        profiles = {name: profile for name, profile in stored.items() if profile is not None}
        missing = [name for name in stored if name not in profiles]
        measured = self.bench.profile(onnx, missing, f"{self.study.name}/{folder.path.name}", reference, precision)
        for name, profile in measured.items():
            files.write_text(folder.profile(name), json.dumps(profile.to_dict(), allow_nan=False) + "\n")
        for profile in (profiles | measured).values():
            _require(self.study, profile)
            values, errors = target_metrics(profile)
            metrics |= values
            sems |= errors
        return metrics, sems

    def evaluate(self, trial: Trial, folder: TrialFolder, job: Path, written: Mapping[str, float]) -> dict[str, float]:
        """What the trained network is worth as an ONNX file on the target, beside what its training has ``written``.

        What was measured stands, whatever the training says of it. The size is that of the file that ships: training
        makes tensors differ that the untrained file stores once, such as BatchNorm's zeros. With a table its row is all
        that there is. Raises TrialError where it has none, and as ``score`` does.
        """
        if self.table is not None and trial.of_space:
            metrics = self.table.look_up(trial.choices)
            files.write_json(folder.metrics, metrics)
            return metrics
        # Those of the front's confirmation have these names.
        ours = {f"test_{name}" for name in NAMES[self.data.task]} - set(self.study.trained_metrics)
        kept = {name for name in written if "@" not in name} - trial.metrics.keys() - ours
        own = {name: value for name, value in written.items() if name in kept}
        metrics = own | self.score(trial, job, folder.trained, self.data.x_val, self.data.y_val, "val")
        shipped = self.bench.artifact(folder.trained, self.study.targets[0], self.precision(trial))
        metrics["model_size_mb"] = _size_mb(shipped)
        if shipped.suffix == ONNX and shipped != folder.trained:
            files.write_bytes(folder.converted, shipped.read_bytes())
        files.write_json(folder.metrics, metrics)
        return metrics

    def score(self, trial: Trial, job: Path, onnx: Path, x: Any, y: Any, split: str) -> dict[str, float]:
        """Export the weights in ``job`` to ``onnx`` and score what the target answers to ``x`` (n, *input_shape).

        A baseline that is an ONNX file has no weights to export and is scored as it is. Raises TrialError: the weights
        do not fit, the export fails, the file answers otherwise than torch does, in a shape that cannot be
        scored, or with what is no number.
        """
        if not trial.of_space:
            return self._scored(self._answers(onnx, x), y, split)
        module = build(self.space, trial.choices, self.data.input_shape, self.data.outputs)
        load_weights(module, job / "weights.pt")
        self._export(module, onnx)
        first, precision = self.study.targets[0], self.precision(trial)
        answers = self.bench.outputs(onnx, first, x, precision)
        expected = reference_output(module, x[:PARITY_SAMPLES])
        found = agreement({OUTPUT: answers[:PARITY_SAMPLES]}, {OUTPUT: expected})
        judge(found, precision or self.bench.targets[first].precision)
        return self._scored(answers, y, split)

    def _answers(self, onnx: Path, x: Any) -> Any:
        answers = self.bench.outputs(onnx, self.study.targets[0], x)
        if not baseline.output_fits(answers.shape, self.data):
            raise TrialError(f"the baseline's output: given {answers.shape}; accepted: (n, {self.data.outputs})")
        return answers

    def _scored(self, answers: Any, y: Any, split: str) -> dict[str, float]:
        wanted = (len(y), self.data.outputs)
        if self.data.task == "classification" and answers.shape != wanted:  # of one column, the largest is the first
            given = f"the network's output for {len(y)} inputs has the shape {answers.shape}"
            raise TrialError(f"{given}; accepted: {wanted}, one column for each class")
        if not np.isfinite(answers).all():
            raise TrialError(f"no score on the {split} split: the network's outputs are not all finite")
        scores = {f"{split}_{name}": value for name, value in score(self.data.task, answers, y).items()}
        for name, value in scores.items():  # squares of what is finite may not be
            if not math.isfinite(value):
                raise TrialError(f"{name} is {value}: the network's outputs are too large")
        return scores

    @property
    def incumbent(self) -> Path:
        """Where the study's ONNX baseline lies."""
        given = self.study.baseline.onnx if self.study.baseline is not None else None
        if given is None:
            raise TrialError("the study names no ONNX file as its baseline")
        return Path(given)

    def precision(self, trial: Trial) -> str | None:
        """That of a candidate, where the study searches it; ``None``: each target's own."""
        return str(trial.choices[PRECISION]) if self.study.quantise and trial.of_space else None

    def _export(self, module: nn.Module, onnx: Path) -> None:
        """To ``onnx``, and as a torch program beside it where a target's engine runs those."""
        if not onnx.exists():
            export_onnx(module, onnx, input_shape=self.data.input_shape)
        program = onnx.with_suffix(PROGRAM)
        if self.bench.takes_programs() and not program.exists():
            export_program(module, program, input_shape=self.data.input_shape)

    def _stored(self, path: Path, onnx: Path) -> Profile | None:
        """The profile in ``path`` if it is one of this very file."""
        stored = files.read_json(path)
        if stored is None:
            return None
        profile = Profile.from_dict(stored)
        return profile if profile.digest == self.bench.digest(onnx) else None


def _size_mb(shipped: Path) -> float:
    """In 10^6 bytes; an artifact holds its weights itself."""
    return shipped.stat().st_size / 1e6


def _require(study: Study, profile: Profile) -> None:
    """Raises TrialError where a metric of the study was not measured: training would be for nothing."""
    for wanted in (*study.objective, *study.constraint):
        name = wanted.metric.partition("@")[0]
        if wanted.target == profile.target.name and profile.metric(name)[0] is None:
            raise TrialError(f"no {wanted.metric}: {profile.missing.get(name, 'it was not measured')}")


def target_metrics(profile: Profile) -> tuple[dict[str, float], dict[str, float]]:
    """``metric@target`` -> value and -> standard error; metrics that were not measured are absent."""
    values: dict[str, float] = {}
    errors: dict[str, float] = {}
    for metric in METRICS:
        value, sem = profile.metric(metric)
        if value is not None:
            values[f"{metric}@{profile.target.name}"] = float(value)
            if sem is not None:
                errors[f"{metric}@{profile.target.name}"] = float(sem)
    return values, errors


def gate(metrics: Mapping[str, float], limits: Sequence[Limit]) -> str | None:
    """Why the candidate need not be trained, or ``None``. Limits on what only training tells do not count here."""
    for limit in limits:
        if broken(metrics, limit):
            return f"{limit.name} = {metrics[limit.name]:.4g}, the limit is {limit.op} {limit.bound:.4g}"
    return None
