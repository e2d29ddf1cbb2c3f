"""The records of a measurement. Frozen; the unit is in the name; ``None`` is "not measured".

Where a field of a ``Profile`` is ``None``, ``missing`` holds the reason under the field's name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 1

Arm = Literal["model", "calibration", "base", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Device x engine x provider x precision x threads x batch: the unit of comparison."""

    name: str
    device: str
    engine: str = "onnxruntime"
    provider: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1
    transfers: bool = True  # whether copies from and to the accelerator's memory count into the latency
    max_fallback: float = 0.0  # percent of nodes that may run on another provider than the one asked for
    python: str | None = None  # on the device, with the engine's package in its environment; None: the agent's own

    @property
    def settings(self) -> dict[str, Any]:
        """What makes its figures, beside the device. Not the name, and a fallback shows in the latency itself."""
        return {name: value for name, value in _fields(self).items() if name not in ("name", "device", "max_fallback")}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``Target(**value)`` is the inverse."""
        return _fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some milliseconds of inferences of one arm in one process; the first one is dropped.

    Blocks come in groups of four, in the order A B B A, so that a steady drift cancels within a group.
    """

    process: int  # which fresh process, counted from 0 in the order they ran
    group: int  # which ABBA group within that process
    arm: Arm
    latencies_ns: tuple[int, ...]
    disturbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of all raw times of undisturbed blocks. A percentile that the count does not support is ``None``."""

    p10: float | None
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The clock of a device: what the calibration model took here, and what it takes there usually."""

    digest: str  # of the calibration model
    measured_ms: float  # median over the blocks of this very measurement
    reference_ms: float  # median of the first 20 records of this fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model artifact on one target.

    ``latency_ms`` is raw. ``latency_ms_calibrated`` = raw x reference_ms / measured_ms, from paired blocks, so a
    machine that is slow for a minute does not make a model slow; its standard error ``latency_ms_sem`` comes from the
    two-level bootstrap over processes and blocks. Not covered: what a server or an app adds around the inference.
    """

    model: str
    digest: str  # sha256 of the model file
    target: Target
    device: dict[str, Any]  # the fingerprint: CPU, GPU, kernel, governor, driver, runtime versions
    provider: str  # the provider that ran; another one than asked for is an error, not a profile
    node_providers: dict[str, int]  # provider -> number of nodes of the optimised graph
    calibration: Calibration
    latency_ms: Percentiles
    latency_ms_calibrated: float
    latency_ms_sem: float
    throughput_per_s: float  # batch / raw p50; one caller
    samples: int  # raw latencies behind latency_ms
    fallen_back: dict[str, str] = field(default_factory=dict)  # node -> provider, where not the one asked for
    fallback_percent: float = 0.0  # share of those nodes
    fallback_time_percent: float | None = None  # their share of the time of all nodes; from the pass over operators
    device_latency_ms: float | None = None  # median between the accelerator's own events, no transfers
    latency_ms_ci95: tuple[float, float] | None = None  # of latency_ms_calibrated
    stopped: str = ""  # why the measurement ended: "within 1 %", "budget", or "plan" where its length was fixed
    shapes: dict[str, list[int]] = field(default_factory=dict)  # of inputs, where given; of one sample
    interval_ms: float | None = None  # from the start of one inference to that of the next; None: back to back
    harness_us: float | None = None  # what a call of a model that does nothing takes; never subtracted
    load_ms: float | None = None  # reading and compiling the model, up to the first run
    build_ms: float | None = None  # of load_ms: building the engine, where that is a step of its own
    first_run_ms: float | None = None
    peak_memory_mb: float | None = None  # above an empty session in a process of its own
    model_size_mb: float | None = None
    power_w: float | None = None  # mean while inferences run back to back
    power_w_sem: float | None = None
    idle_power_w: float | None = None  # mean before and after, with the model loaded
    energy_mj: float | None = None  # dynamic (idle removed), for one inference
    energy_mj_sd: float | None = None  # over windows
    energy_mj_sem: float | None = None  # of energy_mj: over windows, and what the two idle readings leave open
    energy_total_mj: float | None = None  # idle not removed
    energy_total_mj_sd: float | None = None
    energy_windows_mj: tuple[float, ...] = ()  # what energy_mj is the mean of
    meter: str | None = None  # what was read: "rapl: package-0 + dram"
    output_error: float | None = None  # largest |difference| to the reference output, relative to its largest value
    operators: tuple[dict[str, Any], ...] = ()  # name, operator, provider, time_ms, share; from a pass of its own
    concurrent: dict[str, Any] = field(default_factory=dict)  # callers, throughput_per_s, throughput_per_s_sd
    sustained: dict[str, Any] = field(default_factory=dict)  # see devices.extras
    conditions: dict[str, Any] = field(default_factory=dict)  # see devices.conditions
    flags: tuple[str, ...] = ()  # disturbed, throttled, unsettled, replayed, ...
    missing: dict[str, str] = field(default_factory=dict)  # field -> why it is None
    versions: dict[str, str] = field(default_factory=dict)
    time: str = ""  # ISO 8601, UTC
    command: str = ""
    blocks: tuple[Block, ...] = ()  # all raw times, disturbed ones included

    def metric(self, name: str) -> tuple[float | None, float | None]:
        """Value and standard error of a metric that a study may name; (None, None) where not measured.

        The standard error is ``None`` for metrics that are taken once. Raises KeyError on an unknown name.
        """
        if name == "latency_ms":
            return self.latency_ms_calibrated, self.latency_ms_sem
        if name == "latency_ms.p90":
            return self.latency_ms.p90, None
        if name == "energy_mj":
            return self.energy_mj, self.energy_mj_sem
        if name == "power_w":
            return self.power_w, self.power_w_sem
        if name in METRICS:
            return getattr(self, name), None
        raise KeyError(name)

    def to_dict(self, raw: bool = True) -> dict[str, Any]:
        """JSON-ready; mappings are the record's own. ``raw=False``: without single latencies, as ``--json`` does."""
        # Shallow: a copy of some thousand times would cost more than all the rest.
        value = _fields(self)
        del value["blocks"]
        value |= {key: _fields(value[key]) for key in ("calibration", "latency_ms")}
        value["target"] = self.target.name
        value |= {key: getattr(self.target, key) for key in _TARGET}
        value["target_device"] = self.target.device
        value["target_provider"] = self.target.provider
        value["energy_reason"] = self.missing.get("energy_mj")
        value |= {key: list(value[key]) for key in _TUPLES if value[key] is not None}
        if raw:
            value["blocks"] = [[b.process, b.group, b.arm, b.disturbed, list(b.latencies_ns)] for b in self.blocks]
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Profile:
        """The inverse of ``to_dict``; fields of a newer hwnas are left out. Raises KeyError or TypeError otherwise."""
        value = dict(value)
        target = Target(
            name=value.pop("target"),
            device=value.pop("target_device"),
            provider=value.pop("target_provider"),
            **{key: value.pop(key) for key in _TARGET if key in value},
        )
        value.pop("energy_reason")
        blocks = tuple(
            Block(process=process, group=group, arm=arm, disturbed=disturbed, latencies_ns=tuple(times))
            for process, group, arm, disturbed, times in value.pop("blocks", [])
        )
        value["calibration"] = Calibration(**value["calibration"])
        value["latency_ms"] = Percentiles(**value["latency_ms"])
        value |= {key: tuple(value[key]) for key in _TUPLES if value.get(key) is not None}
        known = {one.name for one in dataclasses.fields(cls)}
        return cls(target=target, blocks=blocks, **{key: part for key, part in value.items() if key in known})


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


# Fields that are tuples here and lists in JSON.

_TUPLES = ("flags", "operators", "latency_ms_ci95", "energy_windows_mj")
# Metrics that only a device with a meter has.
METERED = ("energy_mj", "power_w")
# Fields of a target that stand in a profile's JSON under their own names.
_TARGET = ("engine", "precision", "threads", "batch", "transfers", "max_fallback", "python")

# Metrics a study may name with "@target", in the order in which tables show them.
METRICS = (
    "latency_ms",
    "latency_ms.p90",
    "throughput_per_s",
    "energy_mj",
    "power_w",
    "peak_memory_mb",
    "load_ms",
)


def digest_of(value: Any) -> str:
    """sha256 of canonical JSON: the identity of candidates, fingerprints and plans."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
