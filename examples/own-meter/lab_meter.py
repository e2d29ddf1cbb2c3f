"""The power that a program of the lab keeps in a file, in W.

meter = {name = "lab_meter:Meter", file = "power_w"}
"""

from dataclasses import dataclass
from pathlib import Path

from devices.meters import Sensor
from profiles.clock import now_ns
from profiles.errors import MeasurementError, UnavailableError


@dataclass(frozen=True, kw_only=True)
class Meter:
    file: str
    period_s: float = 0.05  # how long one value stands

    def open(self):
        try:
            self._power_w()
        except (OSError, ValueError) as error:
            raise UnavailableError(f"lab_meter: {self.file}: {error}; is supply.py running?") from None
        return Sensor(
            label=f"lab: {self.file}",
            quantity="power_w",
            period_s=self.period_s,
            read=self._read,
            flags=("made_up",),
        )

    def _read(self):
        try:
            return [(now_ns() / 1e9, self._power_w())]
        except (OSError, ValueError) as error:
            raise MeasurementError(f"lab_meter: {self.file}: {error}") from None

    def _power_w(self):
        return float(Path(self.file).read_text())
