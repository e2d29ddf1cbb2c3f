"""What searches of one space have measured on a target: networks, scouted ones too, and a metric of each.

A target that the searches did not have counts too, where their files were profiled on it later and kept in a store:
``hwnas profile runs/digits/trials/*/untrained.onnx --fleet fleet.toml --target pi5``. All figures are of one setting of
one device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices import onnxfile
from devices.fleet import Fleet
from nas import onnx_graph
from nas.cost_models import Network
from nas.data import load
from nas.folder import TrialFolder
from nas.graph import TracingError
from nas.journal import Trial
from nas.networks import operations_of
from nas.precision import PRECISION
from nas.results import Results, read_results
from nas.scouting import Scout, scouts_of
from nas.settings import Setting, agreed
from nas.spaces import SearchSpace, check, find_space
from profiles.errors import HwnasError, InputError, MeasurementError, TrialError
from profiles.records import METRICS, Profile
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


def read_known(
    runs: Sequence[Path], metric: str, target: str, store: Store | None = None, fleet: Fleet | None = None
) -> Known:
    """From run folders, and from the profiles of their files in ``store``. A network that was measured more than once
    counts once, with the median. Values that are not above 0 have no logarithm and are left out.

    ``fleet``: what is in a file, ``None`` where none is given. Of the store only those profiles count that were taken
    with the target's settings, as ``nas.settings`` finds them, and on the runs' device; on the one that was profiled
    last where no run has the target.

    Raises InputError where there is no such run or metric, or the runs are not of one space and shape of data, or not
    of one setting and device; MeasurementError where nothing was measured.
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
    setting = agreed(target, found, fleet)
    networks = [one for results in found for one in seen(results)]
    in_store = _profiled(store, metric, setting, networks) if store is not None and setting is not None else {}
    values, first, name = defaultdict(list, in_store), dict[str, Seen](), f"{metric}@{target}"
    for one in networks:
        values[one.digest] += [one.figures[name]] if name in one.figures else []
        first.setdefault(one.digest, one)
    measured = [
        Measured(choices=one.choices, file=one.folder.untrained, value=float(np.median(there)))
        for digest, one in first.items()
        if (there := [value for value in values[digest] if value > 0])
    ]
    if not measured:
        others = sorted({known for one in networks for known in one.figures if "@" in known})
        of = "where --fleet names the target" if setting is None else f"that are of its settings in {setting.where}"
        raise MeasurementError(
            f"no network of {', '.join(map(str, runs))} has a figure of {name}; there are: "
            f"{', '.join(others) or 'none'}; of a store those count {of}, and of one device"
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
    """A trial, or a candidate that was scouted. ``precision``: its own, ``None`` where that was not searched."""

    choices: dict[str, Any]
    precision: str | None
    digest: str
    figures: Mapping[str, float]
    folder: TrialFolder


def seen(results: Results) -> Iterator[Seen]:
    """Networks of the space alone, each once. Raises InputError where the space has changed since and lacks one."""
    space, name = find_space(results.study.full_space), results.study.full_space

    def one(of: Trial | Scout, figures: Mapping[str, float], folder: TrialFolder) -> Seen:
        try:
            check(space, of.choices)
        except InputError as error:
            raise InputError(
                f"{results.folder.path}: given a network that is none of the space {name} as it is now: {error}"
            ) from error
        precision = str(of.choices[PRECISION]) if results.study.quantise is not None else None
        return Seen(choices=of.choices, precision=precision, digest=of.digest, figures=figures, folder=folder)

    for trial in results.of_space:
        yield one(trial, trial.figures, results.folder.trial(trial.index))
    proposed = {trial.digest for trial in results.trials}
    for scout in scouts_of(results.events).values():
        if scout.digest not in proposed:  # else the trial has its figures
            yield one(scout, scout.metrics, results.folder.scout(scout.digest))


def _profiled(store: Store, metric: str, setting: Setting, networks: Sequence[Seen]) -> dict[str, list[float]]:
    """Digest of a candidate -> figures of its files, taken in its own precision, or else in the target's."""
    settings = setting.target.settings
    there: dict[tuple[str, str], list[Profile]] = defaultdict(list)
    for profile in store.profiles(target=setting.target.name, raw=False):
        if profile.target.settings | {"precision": settings["precision"]} == settings:
            there[profile.digest, profile.target.precision].append(profile)
    if not there:
        return {}
    files: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in networks:
        files[one.digest] |= {(file, one.precision or setting.target.precision) for file in _files(one)}
    found = {digest: [profile for file in files[digest] for profile in there.get(file, [])] for digest in files}
    last = max((profile for every in found.values() for profile in every), key=lambda p: p.time, default=None)
    device = setting.fingerprint if setting.fingerprint is not None or last is None else last.device
    return {
        digest: [float(v) for p in every if p.device == device and (v := p.metric(metric)[0]) is not None]
        for digest, every in found.items()
    }


def _files(one: Seen) -> set[str]:
    """Their digests; what cannot be read was not profiled."""
    found = set()
    for file in (one.folder.untrained, one.folder.trained):
        with suppress(InputError):
            found.add(onnxfile.digest(file))
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
