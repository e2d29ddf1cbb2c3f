"""What searches of one space have measured on a target: networks, scouted ones too, and a metric of each.

A target that the searches did not have counts too, where their files were profiled on it later and kept in a store:
``hwnas profile runs/digits/trials/*/untrained.onnx --target pi5``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices import onnxfile
from nas import onnx_graph
from nas.cost_models import Network
from nas.data import load
from nas.folder import TrialFolder
from nas.graph import TracingError
from nas.networks import operations_of
from nas.precision import PRECISION
from nas.results import Results, read_results
from nas.scouting import scouts_of
from nas.spaces import SearchSpace, find_space
from profiles.errors import HwnasError, InputError, MeasurementError, TrialError
from profiles.records import METRICS
from profiles.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``value``: in the metric's unit, above 0. ``file``: the network as it was exported."""

    choices: dict[str, Any]
    file: Path
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """``space``, ``input_shape`` and ``outputs``: what the networks are built from and for; ``searched_precision``:
    whether that is one of the choices."""

    space: SearchSpace
    input_shape: tuple[int, ...]
    outputs: int
    searched_precision: bool
    measured: list[Measured]

    def network(self, choices: Mapping[str, Any]) -> Network:
        """Of a candidate. Raises InputError on unfit choices, TrialError where it cannot be built or traced."""
        try:
            operations = operations_of(self.space, choices, self.input_shape, self.outputs)
        except TracingError as error:
            raise TrialError(f"its operations cannot be read: {error}") from error
        found = Network.of(operations)
        return found.of_kind(str(choices[PRECISION])) if self.searched_precision else found

    def file(self, path: Path) -> Network:
        """Of an ONNX file. Raises InputError, TrialError."""
        if self.searched_precision:
            raise InputError(
                f"{path}: given a file, and the searches chose the precision too; accepted: a CSV file with a column "
                f"{PRECISION}"
            )
        try:
            return Network.of(onnx_graph.read(path))
        except TracingError as error:
            raise TrialError(f"{path}: its operations cannot be read: {error}") from error


def read_known(runs: Sequence[Path], metric: str, target: str, store: Store | None = None) -> Known:
    """From run folders, and from the profiles of their files in ``store``. A network that was measured more than once
    counts once, with the median. Values that are not above 0 have no logarithm and are left out.

    Raises InputError where there is no such run or metric, or the runs are not of one space and shape of data;
    MeasurementError where nothing was measured.
    """
    if metric not in METRICS:
        raise InputError.of("predict", "metric", metric, ", ".join(METRICS))
    if not runs:
        raise InputError("predict: given no run; accepted: --run with the folder of a search, once or more")
    found = [read_results(run) for run in runs]
    shapes = [_shape(results) for results in found]
    for run, results, shape in zip(runs, found, shapes, strict=True):
        if (results.study.full_space, shape) != (found[0].study.full_space, shapes[0]):
            raise InputError(
                f"{run}: given {_told(results, shape)}; accepted: {_told(found[0], shapes[0])}, as in {runs[0]}"
            )
    in_store = _profiled(store, metric, target)
    values: dict[str, list[float]] = {}
    first: dict[str, Seen] = {}
    for results in found:
        for one in seen(results):
            there = [value for value in _values(one, f"{metric}@{target}", in_store) if value > 0]
            values.setdefault(one.digest, []).extend(there)
            first.setdefault(one.digest, one)
    measured = [
        Measured(choices=one.choices, file=one.folder.untrained, value=float(np.median(values[digest])))
        for digest, one in first.items()
        if values[digest]
    ]
    if not measured:
        others = sorted(
            {name for results in found for trial in results.trials for name in trial.metrics if "@" in name}
        )
        raise MeasurementError(
            f"no network of {', '.join(map(str, runs))} has a figure of {metric}@{target}; there are: "
            f"{', '.join(others) or 'none'}"
        )
    (input_shape, outputs), study = shapes[0], found[0].study
    return Known(
        space=find_space(study.full_space),
        input_shape=input_shape,
        outputs=outputs,
        searched_precision=study.quantise is not None,
        measured=measured,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A trial, or a candidate that was scouted."""

    choices: dict[str, Any]
    digest: str
    figures: Mapping[str, float]
    folder: TrialFolder


def seen(results: Results) -> Iterator[Seen]:
    """Networks of the space alone, each once."""
    for trial in results.of_space:
        folder, figures = results.folder.trial(trial.index), results.figures(trial.index)
        yield Seen(choices=trial.choices, digest=trial.digest, figures=figures, folder=folder)
    proposed = {trial.digest for trial in results.trials}
    for scout in scouts_of(results.events).values():
        if scout.digest not in proposed:  # else the trial has its figures
            folder = results.folder.scout(scout.digest)
            yield Seen(choices=scout.choices, digest=scout.digest, figures=scout.metrics, folder=folder)


def _values(one: Seen, name: str, in_store: Mapping[str, list[float]]) -> Iterator[float]:
    if name in one.figures:
        yield one.figures[name]
    for file in (one.folder.untrained, one.folder.trained) if in_store else ():
        if file.is_file():
            yield from in_store.get(onnxfile.digest(file), [])


def _profiled(store: Store | None, metric: str, target: str) -> dict[str, list[float]]:
    """Digest of a file -> figures of it."""
    found: dict[str, list[float]] = {}
    for profile in store.profiles(target=target, raw=False) if store is not None else []:
        value, _ = profile.metric(metric)
        if value is not None:
            found.setdefault(profile.digest, []).append(float(value))
    return found


def _shape(results: Results) -> tuple[tuple[int, ...], int]:
    data = results.study.data
    try:
        found = load(data.name, **data.options)
    except HwnasError as error:
        raise type(error)(f"{results.folder.study}: {error}") from error
    return found.input_shape, found.outputs


def _told(results: Results, shape: tuple[tuple[int, ...], int]) -> str:
    return f"{results.study.full_space} for inputs of {' x '.join(map(str, shape[0]))} and {shape[1]} outputs"
