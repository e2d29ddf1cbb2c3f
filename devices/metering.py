"""The host's side of the energy pass: asks for it, and makes fields of a record out of the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from devices import energy
from devices.energy import Energy, Stretches
from devices.protocol import Record
from devices.session import Session
from profiles.errors import MeasurementError, UnavailableError

# The fields of a Profile that a meter fills. Without one, each is missing for the same reason.
FIELDS = ("power_w", "idle_power_w", "energy_mj", "energy_total_mj")
DISTURBED = "energy_disturbed"  # flag: something else used the machine, or a counter was read late
_TRIES = 2  # of a machine that did not rest: whatever else ran on it may have ended


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """``energy`` is ``None`` where there is no figure, for ``reason``. ``meter``: what was read, if anything."""

    energy: Energy | None = None
    meter: str | None = None
    flags: tuple[str, ...] = ()
    reason: str = "no meter"

    def fields(self) -> dict[str, Any]:
        """Of a Profile; without figures only ``meter``."""
        found = dataclasses.asdict(self.energy) if self.energy else {}
        return {**found, "meter": self.meter}

    def missing(self) -> dict[str, str]:
        return {} if self.energy else dict.fromkeys(FIELDS, self.reason)


def on_device(session: Session, setting: Mapping[str, Any]) -> dict[str, Any]:
    """A meter's setting as its device takes it: files are brought there."""
    return {key: session.put(value) if isinstance(value, Path) else value for key, value in setting.items()}


def probe(session: Session, setting: Mapping[str, Any]) -> Record:
    """Read the meter once: ``meter`` (what it is), ``quantity``, ``period_s``, ``flags``.

    Raises UnavailableError or MeasurementError: it is not there, may not be read or gives nothing.
    """
    return session.request("meter", meter=on_device(session, setting))


def measure(session: Session, setting: Mapping[str, Any], **request: Any) -> Metered:
    """One model's energy. A meter that fails or figures that are refused are a reason, not an error: the rest of the
    record stands. Raises what ends the session, and InputError.
    """
    reason = ""
    for _ in range(_TRIES):
        try:
            answer = session.request("energy", meter=on_device(session, setting), **request)
        except (MeasurementError, UnavailableError) as error:
            if session.closed:
                raise
            return Metered(reason=str(error))
        try:
            found, quiet = _figures(answer)
            flags = (*answer["flags"], *([] if quiet else [DISTURBED]))
            return Metered(energy=found, meter=answer["meter"], flags=flags)
        except MeasurementError as error:
            reason = f"{answer['meter']}: {error}"
    return Metered(reason=reason)


def _figures(answer: Record) -> tuple[Energy, bool]:
    """From the undisturbed windows, where there are enough of them; else from all, and then the second is False."""
    time_s, value = np.array(answer["readings"], dtype=np.float64).reshape(-1, 2).T
    windows = np.array(answer["windows"], dtype=np.float64)
    idle = np.array(answer["idle"], dtype=np.float64)
    calm = windows[windows[:, 2] == 0]
    enough = len(calm) >= energy.MIN_WINDOWS
    windows = calm if enough else windows
    stretches = Stretches(windows_s=windows[:, :2], runs=windows[:, 3], idle_s=idle[:, :2])
    if answer["pace_s"]:
        energy.check_steps(time_s, stretches, answer["pace_s"])
    found = energy.of_readings(time_s, value, answer["quantity"], stretches, answer["period_s"])
    return found, bool(enough and np.all(idle[:, 2] == 0))
