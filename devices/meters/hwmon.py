"""Any sensor that Linux shows as hwmon: power1_input (uW), power1_average (uW) or energy1_input (uJ).

    meter = "hwmon"                                         # where there is one such chip
    meter = {name = "hwmon", chip = "ina226", channel = 1}  # /sys/class/hwmon/hwmon*/name

An energy counter is preferred to power. Its pace is the driver's ``update_interval`` where it says one, else
``period_s``; of an average at least the time that it is over (``power1_average_interval``). What it covers depends on
where the chip sits on the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.meters import Sensor
from devices.meters._sysfs import Counters, number, optional, powers, update_period_s
from profiles.errors import UnavailableError

_FILES = ("energy{}_input", "power{}_input", "power{}_average")
_PERMISSION = "run as a user who may, or allow it: sudo chmod a+r on that file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    chip: str | None = None
    channel: int = 1
    root: str = "/"  # of the tree that holds "sys"
    period_s: float = 0.1

    def open(self) -> Sensor:
        path = self._path()
        kind = path.name.partition("_")[0]
        what = optional(path.parent / f"{kind}_label") or kind
        label = f"hwmon: {optional(path.parent / 'name') or path.parent.name} {what}"
        period_s = update_period_s(path.parent, self.period_s)
        if path.name.startswith("energy"):
            counters = Counters([path], [None], _PERMISSION)
            return Sensor(label=label, quantity="energy_j", period_s=period_s, read=counters)
        number(path, _PERMISSION)
        if path.name.endswith("average"):  # over so long, however often it is computed
            interval = optional(path.with_name(f"{path.name}_interval")) or ""
            period_s = max(period_s, int(interval) / 1e3 if interval.isdigit() else 0.0)
        read = powers(lambda: number(path, _PERMISSION) / 1e6)
        return Sensor(label=label, quantity="power_w", period_s=period_s, read=read)

    def _path(self) -> Path:
        """The one file to read. Two chips may have one name; then their folders (hwmon3) tell them apart."""
        folder = Path(self.root) / "sys/class/hwmon"
        found = []
        for chip in sorted(folder.glob("hwmon*")):
            files = [chip / name.format(self.channel) for name in _FILES]
            found += [path for path in files if path.exists()][:1]
        fitting = [path for path in found if self.chip in (None, path.parent.name, optional(path.parent / "name"))]
        if len(fitting) == 1:
            return fitting[0]
        names = ", ".join(f"{optional(path.parent / 'name')} ({path.parent.name})" for path in found) or "none"
        what = "several chips" if fitting else "no chip" + (f" {self.chip}" if self.chip else "")
        raise UnavailableError(
            f"meter hwmon: {what} with power{self.channel} or energy{self.channel} in {folder}; chip may be: {names}"
        )
