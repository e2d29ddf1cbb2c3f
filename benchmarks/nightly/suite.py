"""A suite: which models are watched on which targets, and how much worse each metric may become.

    name = "product"
    targets = ["local", "pi5-int8"]        # of the fleet file; default: this machine's CPU
    budget = "30s"                         # most time for the first duet of a pair
    models = [
        "resnet8",                         # a reference model
        "models/detector.onnx",            # an ONNX file, relative to the suite file
        "../runs/digits",                  # a search: every member of its front
        {model = "build/new.onnx", name = "segmenter", shapes = {image = [1, 3, 64, 64]}, same_outputs = true},
    ]
    [metrics]                              # up to this much worse does not matter
    latency_ms = "2%"
    energy_mj = "5%"
    peak_memory_mb = "5%"
    model_size_mb = "1%"
    val_accuracy = "0.2pp"                 # for the front of a search alone

A model's name is its identity from night to night. ``same_outputs``: the file is meant to compute what its baseline
computes; without it, a file that has changed is only held to what it computes itself without optimisations.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pydantic

from benchmarks import models as given_models
from benchmarks.measuring import seconds, share
from devices import onnxfile, toml
from devices.convert import own_precision
from devices.plan import Job
from nas import models as reference
from profiles.errors import HwnasError, InputError

RELATIVE = ("latency_ms", "energy_mj", "peak_memory_mb", "model_size_mb")
ACCURACY, MEMORY, ENERGY = "val_accuracy", "peak_memory_mb", "energy_mj"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGITS = 6  # of a candidate's digest, in the name of a member of a front
_Size = Annotated[int, pydantic.Field(ge=1)]


class Given(pydantic.BaseModel):
    """One of ``models``, with what a plain text cannot say."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    model: str
    name: str | None = None
    shapes: dict[str, list[_Size]] = {}
    inputs: str | None = None  # .npz, relative to the suite file
    same_outputs: bool = False


class Suite(pydantic.BaseModel):
    """As the file says it. ``floors`` has the metrics as numbers."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    models: Annotated[list[str | Given], pydantic.Field(min_length=1)]
    targets: Annotated[list[str], pydantic.Field(min_length=1)] = ["local"]
    metrics: dict[str, str] = {"latency_ms": "2%", MEMORY: "5%", "model_size_mb": "1%"}
    budget: str = "30s"

    @pydantic.field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit")
        return name

    @pydantic.field_validator("metrics")
    @classmethod
    def _known(cls, metrics: dict[str, str]) -> dict[str, str]:
        for metric, text in metrics.items():
            if metric not in (*RELATIVE, ACCURACY):
                raise ValueError(f"{', '.join((*RELATIVE, ACCURACY))}, each with its floor")
            _floor(metric, text)
        return metrics

    @pydantic.field_validator("budget")
    @classmethod
    def _time(cls, budget: str) -> str:
        try:
            seconds("budget", budget)
        except InputError:
            raise ValueError("a time above 0 with its unit, such as 30s or 2m") from None
        return budget

    @property
    def budget_s(self) -> float:
        return seconds("budget", self.budget)

    @property
    def floors(self) -> dict[str, float]:
        """Metric -> the change that does not matter: relative (0.02 is 2 %); of ``val_accuracy`` a difference."""
        return {metric: _floor(metric, text) for metric, text in self.metrics.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of a suite. ``error``: why there is nothing to measure. ``run``: the search whose front it is of.
    ``batch``: that of its shapes; ``None``: the target's.
    """

    name: str
    job: Job
    run: Path | None = None
    batch: int | None = None
    same_outputs: bool = False
    error: HwnasError | None = None


def load_suite(path: Path, overrides: Mapping[str, str] | None = None) -> Suite:
    """Raises InputError naming file and key."""
    suite = toml.load_toml(path, Suite, overrides)
    if len(set(suite.targets)) < len(suite.targets):
        raise InputError.of(str(path), "targets", suite.targets, "each target once")
    return suite


def entries(suite: Suite, path: Path, folder: Path) -> list[Entry]:
    """The models of ``suite``, read from ``path``; reference models are exported where they are not yet.

    ``folder``: for files that are made on the way. A file that is not there, or a search without a front, is an entry
    with an ``error``: the others are watched all the same. Raises InputError where two have one name, or nothing has a
    ``val_accuracy`` to judge.
    """
    found: list[Entry] = []
    for number, one in enumerate(suite.models):
        found += _entries(Given(model=one) if isinstance(one, str) else one, path.parent, folder / str(number))
    twice = [name for name, count in Counter(entry.name for entry in found).items() if count > 1]
    if twice:
        accepted = 'models with names of their own: {model = "FILE", name = "NAME"}'
        raise InputError(f"{path}: models: given {twice[0]!r} more than once; accepted: {accepted}")
    if ACCURACY in suite.metrics and not any(entry.run or entry.error for entry in found):
        accepted = "in a suite with the folder of a search, whose validation data it is scored on"
        raise InputError(f"{path}: metrics.{ACCURACY}: given without one; accepted: {accepted}")
    return found


def _entries(given: Given, here: Path, folder: Path) -> list[Entry]:
    place = here / given.model
    if (place / "study.toml").is_file():
        if given.shapes or given.inputs:
            raise InputError(f"{place}: given shapes or inputs; accepted: neither, for the folder of a search")
        return _front(given, place)
    is_path = place.exists() or "/" in given.model
    name = given.name or (Path(given.model).name if is_path else given.model)
    shapes, batch = given_models.without_batch({key: tuple(sizes) for key, sizes in given.shapes.items()})
    inputs = here / given.inputs if given.inputs else None
    entry = Entry(name=name, job=Job(model=place, name=name), batch=batch, same_outputs=given.same_outputs)
    try:
        if not place.is_file() and given.model not in reference.names() and ":" not in given.model:
            raise InputError(f"{place}: there is no such model file, nor a reference model {given.model!r}")
        model = str(place) if place.is_file() else given.model
        (job,) = given_models.jobs([model], shapes=shapes, inputs=inputs, folder=folder)
        onnxfile.external_files(job.model)
    except HwnasError as error:
        return [dataclasses.replace(entry, error=error)]
    return [dataclasses.replace(entry, job=dataclasses.replace(job, name=name))]


def _front(given: Given, run: Path) -> list[Entry]:
    """One entry with an ``error`` where the search has no front yet or cannot be read.

    A name holds the digest of the candidate: where a search is run anew, trial 3 may be another network.
    """
    from nas.results import read_results

    search = given.name or run.resolve().name
    try:
        results = read_results(run)
        if not results.front:
            raise InputError(f"{run}: its front is empty; accepted: the folder of a search with one")
    except HwnasError as error:
        return [Entry(name=search, job=Job(model=run, name=search), run=run, error=error)]
    digests = {trial.index: trial.digest for trial in results.trials}
    found = []
    for index in results.front:
        name, file = f"{search}/{index}-{digests[index][:_DIGITS]}", results.onnx(index)
        job = Job(model=file, name=name, precision=own_precision(file))
        entry = Entry(name=name, job=job, run=run, same_outputs=given.same_outputs)
        try:
            onnxfile.external_files(file)
        except InputError as error:
            entry = dataclasses.replace(entry, error=error)
        found.append(entry)
    return found


def _floor(metric: str, text: str) -> float:
    """Raises ValueError with what is accepted."""
    if metric == ACCURACY:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*pp", text)
        if match is None or not float(match[1]) < 100:
            raise ValueError(f'for {ACCURACY}, percentage points from 0 to 100, such as "0.2pp"')
        return float(match[1]) / 100
    try:
        return share(metric, text)
    except InputError:
        raise ValueError(f'for {metric}, a percentage from 0%, below 100%, such as "2%"') from None
