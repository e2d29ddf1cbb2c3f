"""A study as its TOML file says it: space, data, objectives, constraints, budget. No device is asked here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from nas.precision import name_of
from nas.spaces import Choice, Range, find_space
from profiles.records import METERED, METRICS

# Known before a candidate is trained, without any device.
STATIC_METRICS = ("params", "macs", "model_size_mb")
ACCURACY = "val_accuracy"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_METRIC = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_.]*)(@(?P<target>[A-Za-z0-9][A-Za-z0-9._-]*))?")
_MULTIPLE = re.compile(r"\d+(\.\d+)?x")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Metric(_Table):
    metric: str

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        match = _METRIC.fullmatch(value)
        if match is None or (match["target"] and match["name"] not in METRICS):
            here, there = ", ".join(STATIC_METRICS), ", ".join(METRICS)
            raise ValueError(f"a name the training script writes, {here}, or one of {there} with @target")
        if not match["target"] and match["name"] in METRICS:
            raise ValueError(f"{value}@TARGET, since it depends on where the model runs")
        return value

    @property
    def target(self) -> str | None:
        return self.metric.partition("@")[2] or None


class Objective(_Metric):
    goal: Literal["max", "min"]
    threshold: FiniteFloat | None = None


class Constraint(_Metric):
    """``max`` or ``min``: a number in the metric's unit, or "4x" = a multiple of the calibration model's latency."""

    max: FiniteFloat | str | None = None
    min: FiniteFloat | str | None = None

    @field_validator("max", "min")
    @classmethod
    def _bound(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str) and not _MULTIPLE.fullmatch(value):
            raise ValueError('a number, or a multiple of the calibration model\'s time such as "4x"')
        return value

    @model_validator(mode="after")
    def _one(self) -> Constraint:
        if (self.max is None) == (self.min is None):
            raise ValueError("exactly one of max and min")
        if isinstance(self.bound, str) and self.metric.partition("@")[0].partition(".")[0] != "latency_ms":
            raise ValueError('a number: multiples such as "4x" are for latency_ms@TARGET')
        return self

    @property
    def op(self) -> str:
        return "<=" if self.max is not None else ">="

    @property
    def bound(self) -> float | str:
        bound = self.max if self.max is not None else self.min
        return bound if bound is not None else 0.0


class Data(BaseModel):
    """``name`` is a data set; all other keys go to its loader."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @model_validator(mode="after")
    def _plain(self) -> Data:
        """The options travel to the training script as JSON."""
        _check_plain(self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def _check_plain(options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"for {key}: texts, finite numbers, true, false, lists and tables of those") from None


class Budget(_Table):
    trials: int | None = Field(None, ge=1, le=100_000)
    hours: Positive | None = None
    parallel: int = Field(2, ge=1, le=1000)
    failures: int | None = Field(None, ge=0)  # more failed trials than this end the search

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.trials is None and self.hours is None:
            raise ValueError("trials, hours or both")
        return self


class GlobalStopping(_Table):
    """End the search where the last ``window`` trials added less than ``bar`` times the hypervolume before them."""

    window: int = Field(5, ge=1, le=100_000)
    bar: float = Field(0.1, ge=0, allow_inf_nan=False)


class Search(_Table):
    generator: str = "hwnas"
    initial_trials: int = Field(8, ge=1, le=10_000)
    options: dict[str, Any] = {}  # the generator's own
    ask_timeout_s: Positive = 120.0  # then a random candidate takes the place of a model-based one
    scouting: int = Field(0, ge=0, le=10_000)  # candidates that are measured and not trained, see nas/scouting.py
    transfer: list[str] = []  # run folders, relative to the study file, see nas/transfer.py
    early_stopping: bool = True  # end trainings that cannot better the front any more, see nas/stopping.py
    global_stopping: GlobalStopping | None = None

    @field_validator("options")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        """They travel to the generator's process as JSON."""
        _check_plain(value)
        return value


class Train(_Table):
    scheduler: str = "local_cwd"
    timeout_s: Positive = 3600.0
    script: str | None = None  # relative to the study file; the default trains a classifier or regressor
    table: str | None = None  # likewise; nothing is trained then, see nas/training/table.py
    epochs: int = Field(10, ge=1, le=100_000)
    batch_size: int = Field(64, ge=1)
    learning_rate: Positive = 0.01
    cpus: int = Field(1, ge=1)  # cpus, gpus, memory_mb: what a cluster is asked for, for each training
    gpus: int = Field(0, ge=0)
    memory_mb: int = Field(4096, ge=1)
    image: str = ""  # of containers, for the schedulers that use them; hwnas is installed in it
    storage: str | None = None  # a URL through which jobs pass files where they share none, see nas/training/storage.py
    mounts: list[str] = []  # what such a container sees of the outside: "type=bind,src=/runs,dst=/runs"
    options: dict[
        str, str | int | bool | list[str]
    ] = {}  # TorchX's of that scheduler: partition, time, image_repo, ...

    @model_validator(mode="after")
    def _one_source(self) -> Train:
        if self.script is not None and self.table is not None:
            raise ValueError("script, table or neither")
        return self


class Confirm(_Table):
    seeds: int = Field(3, ge=0, le=100)  # 0: no training again
    processes: int = Field(6, ge=2, le=100)  # fresh processes per member of the front and target


class Quantise(_Table):
    """Each candidate has a precision of its own, which takes the place of its targets'."""

    precisions: list[Literal["fp32", "fp16", "int8"]] = Field(min_length=2, max_length=3)

    @field_validator("precisions")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("each precision once")
        return value


class Baseline(_Table):
    """What ships today: a network of the space, which is trained, or an ONNX file, which is measured and scored."""

    choices: dict[str, Any] = {}
    onnx: str | None = None  # relative to the study file

    @model_validator(mode="after")
    def _one(self) -> Baseline:
        if bool(self.choices) == (self.onnx is not None):
            raise ValueError("exactly one of choices and onnx")
        return self


class Study(_Table):
    name: str
    space: str
    seed: int = Field(0, ge=0, lt=2**31)
    data: Data
    budget: Budget
    search: Search = Search()
    train: Train = Train()
    objective: list[Objective] = Field(min_length=1, max_length=6)
    constraint: list[Constraint] = []
    confirm: Confirm = Confirm()
    baseline: Baseline | None = None
    quantise: Quantise | None = None

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("letters, digits, '.', '_' and '-', at most 64 of them, beginning with a letter or digit")
        return value

    @field_validator("space")
    @classmethod
    def _without_precisions(cls, value: str) -> str:
        """With them it is the name that a generator's process is told, see ``full_space``."""
        if "@" in value:
            raise ValueError("a name without '@'; precisions are searched with [quantise] precisions")
        return value

    @field_validator("objective")
    @classmethod
    def _distinct(cls, value: list[Objective]) -> list[Objective]:
        names = [objective.metric for objective in value]
        if len(set(names)) < len(names):
            raise ValueError("each metric once")
        return value

    @model_validator(mode="after")
    def _limits_leave_room(self) -> Study:
        for upper in self.constraint:
            for lower in self.constraint:
                if upper.metric == lower.metric and _exceeds(lower.min, upper.max):
                    raise ValueError(f"limits that leave room; {upper.metric} from {lower.min} to {upper.max} is empty")
        return self

    @property
    def full_space(self) -> str:
        """The space's name, with the precisions where they are searched too."""
        return name_of(self.space, self.quantise.precisions if self.quantise else [])

    @property
    def targets(self) -> list[str]:
        """Names of the targets that the metrics speak of, in order of appearance, at least ``local``."""
        named = [metric.target for metric in (*self.objective, *self.constraint) if metric.target]
        return list(dict.fromkeys(named)) or ["local"]

    @property
    def trained_metrics(self) -> list[str]:
        """Those that only training tells, or a table in its place."""
        named = [metric.metric for metric in (*self.objective, *self.constraint) if metric.target is None]
        return [name for name in dict.fromkeys(named) if name not in STATIC_METRICS]

    @property
    def tails(self) -> bool:
        """Whether a metric needs more times than a median."""
        return any(one.metric.startswith("latency_ms.p90@") for one in (*self.objective, *self.constraint))

    @property
    def metered(self) -> dict[str, str]:
        """Target -> the metric of it that needs a meter."""
        named = [metric.metric for metric in (*self.objective, *self.constraint)]
        return {name.partition("@")[2]: name for name in reversed(named) if name.partition("@")[0] in METERED}


def _exceeds(lower: float | str | None, upper: float | str | None) -> bool:
    """Numbers, or multiples; one of each cannot be compared before the calibration model was timed."""
    if isinstance(lower, str) and isinstance(upper, str):
        return float(lower.removesuffix("x")) > float(upper.removesuffix("x"))
    return isinstance(lower, float) and isinstance(upper, float) and lower > upper


def parameters_of(study: Study) -> list[dict[str, Any]]:
    """The space's parameters as plain JSON, as generators take them."""
    described: list[dict[str, Any]] = []
    for parameter in find_space(study.full_space).parameters:
        if isinstance(parameter, Choice):
            described.append({"name": parameter.name, "values": list(parameter.values), "ordered": parameter.ordered})
        elif isinstance(parameter, Range):
            described.append(
                {
                    "name": parameter.name,
                    "low": parameter.low,
                    "high": parameter.high,
                    "log": parameter.log,
                    "integer": parameter.integer,
                }
            )
    return described
