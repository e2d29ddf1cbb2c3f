"""What reads power or energy on a device: one file each, named as ``meter`` in the fleet file.

    [devices.pi5]
    transport = "local"
    meter = "rpi_pmic"                                              # a meter without keys, or with its defaults
    # meter = {name = "jetson", rails = ["VDD_GPU_SOC", "VIN_SYS_5V0"]}  # one with keys

A meter is a module with a class ``Meter``, a frozen dataclass of the keys that its table may hold beside ``name``; or
such a class itself, given as ``package.module:object`` or by an entry point of the group ``hwnas.meters``. It runs
inside the agent's worker, so it imports nothing but the standard library, numpy, this package's helpers and its own
library, that one late. A key of the type ``Path`` is a file beside the fleet file, which is brought to the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from profiles import registry
from profiles.errors import InputError

Reading = tuple[float, float]  # time_s on the sensor's clock (see ``Sensor.shift_s``), and the value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A meter that was opened and gave a first value.

    ``quantity``: ``energy_j`` is cumulative with any origin and never falls; it is read at the edges of a window only.
    ``power_w`` is read again and again while the windows run. ``period_s``: how long one value stands at worst.
    ``read`` gives what is new since the last call, times ascending. Raises MeasurementError.

    ``pace_s``: of a counter that can be read at any moment, the time between its steps; 0 for all else. They are then
    watched for, and ``period_s`` is how late a step may be seen: windows need not be long beside ``pace_s``.
    """

    label: str  # what is read, for the record: "rapl: package-0 + dram"
    quantity: Literal["energy_j", "power_w"]
    period_s: float
    pace_s: float = 0.0
    read: Callable[[], Sequence[Reading]]
    shift_s: Callable[[], float] = lambda: 0.0  # from its clock to profiles.clock; final once all is read
    running: Callable[[bool], None] = lambda now: None  # told when inferences begin and end; for replay
    close: Callable[[], None] = lambda: None
    flags: tuple[str, ...] = ()  # for the record: "replayed"


class Meter(Protocol):
    def open(self) -> Sensor:
        """Raises UnavailableError: it is not there, or may not be read, with the way to go on."""


def create(setting: Mapping[str, Any]) -> Meter:
    """``setting``: the table of the fleet file, ``name`` and keys. Raises InputError and UnavailableError."""
    keys = dict(setting)
    name = keys.pop("name")
    meter: Meter = meter_class(name)(**keys)
    period_s = getattr(meter, "period_s", None)
    if period_s is not None and not 0 < period_s < float("inf"):
        raise InputError(f"meter {name}: period_s: given {period_s}; accepted: a number of seconds above 0")
    return meter


def meter_class(name: str) -> Any:
    """The dataclass of a meter. Raises InputError where there is none of that name (it lists those there are)."""
    found = registry.find("devices.meters", name)
    kind = getattr(found, "Meter", found)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and hasattr(kind, "open")):
        raise InputError(f"meter {name}: given {kind!r}; accepted: a dataclass with a method open")
    return kind
