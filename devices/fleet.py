"""The fleet file: which devices there are, and which targets on them.

    [devices.pi5]
    transport = "ssh"             # and the keys of that transport
    host = "pi5.lab"
    pool = "pi5"                  # optional: boards of one pool are alike and share the work of its targets
    meter = "rpi_pmic"            # optional; or a table {name = "rapl", ...} with the keys of that meter
    [targets.pi5-4threads]
    device = "pi5"                # a device, or a pool
    engine = "onnxruntime"
    provider = "cpu"
    precision = "fp32"            # fp32 | fp16 | int8
    threads = 4
    batch = 1
    transfers = true              # copies from and to an accelerator's memory count into the latency
    max_fallback = 0              # percent of nodes that may run on another provider than the one asked for
    python = "~/ort-1.30/bin/python"  # another environment than the device's, for the engine's package in it
    boards = "any"                # of a pool: any one of them, or "worst": all of them, and the slowest counts

Files that a device names are relative to the fleet file. Without a file, or beside it, there is the device ``local``
(this machine) and the target ``local`` on it: ONNX Runtime, CPU, fp32, one thread, batch 1. A file may define its own
of these names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from devices import toml
from devices.meter_table import read_meter
from devices.transports import Device, at_home
from devices.transports.local import Device as Local
from profiles import registry
from profiles.errors import InputError
from profiles.records import Target

LOCAL = "local"
# Of devices, targets and pools: it becomes part of file names and of metrics.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMES = "up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
_Positive = Annotated[int, pydantic.Field(ge=1)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """``where``: the file, for messages. ``meters``: device -> name and keys of its meter; files as a ``Path``."""

    where: str
    devices: dict[str, Device]
    targets: dict[str, Target]
    meters: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    pools: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    worst: frozenset[str] = frozenset()  # targets measured on every board of their pool, of which the worst counts
    named: tuple[str, ...] = (LOCAL,)  # the targets that the file names; without one, or without any in it: ``local``

    def target(self, name: str, overrides: Mapping[str, Any] | None = None) -> Target:
        """The target ``name``, with ``threads``, ``batch`` or ``precision`` replaced as one call asks (``None``: not).

        Raises InputError on an unknown name (it lists those there are) and on a value that is not accepted.
        """
        if name not in self.targets:
            raise InputError(f"{self.where}: no target named {name!r}; there are: {', '.join(sorted(self.targets))}")
        target = self.targets[name]
        asked = {key: value for key, value in (overrides or {}).items() if value is not None}
        if not asked:
            return target
        table = {key: getattr(target, key) for key in _TargetTable.model_fields if key != "boards"} | asked
        return _target(name, toml.validate(table, _TargetTable, f"target {name}"))

    def device(self, name: str) -> Device:
        """The device of a target, as ``device`` in it."""
        return self.devices[self.boards(name)[0]]

    def is_here(self, name: str) -> bool:
        """Whether ``device`` of a target, or a board of that pool, is this machine."""
        return any(isinstance(self.devices[board], Local) for board in self.boards(name))

    def boards(self, name: str) -> tuple[str, ...]:
        """Names of the devices that ``device`` of a target stands for: itself, or those of the pool."""
        return self.pools.get(name, (name,))


def load_fleet(path: Path | None = None, overrides: Mapping[str, str] | None = None) -> Fleet:
    """The fleet file, or what there is without one.

    Raises InputError naming file and key: an unknown key, transport, engine or device, a value that is not accepted.
    """
    devices: dict[str, Device] = {LOCAL: Local()}
    targets = {LOCAL: Target(name=LOCAL, device=LOCAL)}
    if path is None:
        return Fleet(where="without a fleet file", devices=devices, targets=targets)
    where = str(path)
    table = toml.load_toml(path, _FleetTable, overrides)
    pools: dict[str, tuple[str, ...]] = {}
    for key, names in (("devices", table.devices), ("targets", table.targets)):
        for name in names:
            if not NAME.fullmatch(name):
                raise InputError.of(where, key, name, NAMES)
    meters = {name: read_meter(path, name, keys["meter"]) for name, keys in table.devices.items() if "meter" in keys}
    for name, keys in table.devices.items():
        keys = {key: value for key, value in keys.items() if key != "meter"}
        if (pool := keys.pop("pool", None)) is not None:
            if not isinstance(pool, str) or pool in {*table.devices, LOCAL} or not NAME.fullmatch(pool):
                raise InputError.of(where, f"devices.{name}.pool", pool, "a name that no other device has")
            pools[pool] = (*pools.get(pool, ()), name)
        devices[name] = _device(path, name, keys)
    for name, target in table.targets.items():
        if target.device not in devices and target.device not in pools:
            raise InputError.of(where, f"targets.{name}.device", target.device, ", ".join(sorted({*devices, *pools})))
        targets[name] = _target(name, target)
    worst = frozenset(name for name, target in table.targets.items() if target.boards == "worst")
    return Fleet(
        where=where,
        devices=devices,
        targets=targets,
        meters=meters,
        pools=pools,
        worst=worst,
        named=tuple(table.targets) or (LOCAL,),
    )


class _TargetTable(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    device: str = LOCAL
    engine: str = "onnxruntime"
    provider: str = "cpu"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    threads: _Positive = 1
    batch: _Positive = 1
    transfers: bool = True
    max_fallback: Annotated[float, pydantic.Field(ge=0, le=100)] = 0.0
    python: str | None = None
    boards: Literal["any", "worst"] = "any"

    @pydantic.field_validator("engine")
    @classmethod
    def _exists(cls, name: str) -> str:
        known = registry.names("devices.engines")
        if name not in known:
            raise ValueError(", ".join(known))
        return name


class _FleetTable(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    devices: dict[str, dict[str, Any]] = {}
    targets: dict[str, _TargetTable] = {}


def _device(path: Path, name: str, keys: dict[str, Any]) -> Device:
    where = str(path)
    transport, known = keys.pop("transport", LOCAL), registry.names("devices.transports")
    if transport not in known:
        raise InputError.of(where, f"devices.{name}.transport", transport, ", ".join(known))
    module = registry.find("devices.transports", transport)
    device = toml.validate(keys, module.Device, where, prefix=f"devices.{name}.")
    files = {key: value for key in module.Device.model_fields if isinstance(value := getattr(device, key), Path)}
    beside = {}
    for key, file in files.items():
        try:
            beside[key] = path.absolute().parent / at_home(str(file))
        except ValueError as error:
            raise InputError.of(where, f"devices.{name}.{key}", str(file), str(error)) from None
    found: Device = device.model_copy(update=beside)
    return found


def _target(name: str, table: _TargetTable) -> Target:
    return Target(name=name, **table.model_dump(exclude={"boards"}))
