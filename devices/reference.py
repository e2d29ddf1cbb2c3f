"""The usual time of a device's calibration model, which makes latencies of different moments comparable."""

from __future__ import annotations

from devices import measure
from devices.bundle import calibration_digest
from devices.session import Session
from profiles.errors import UnavailableError
from profiles.records import Target
from profiles.store import REFERENCE_COUNT, Store, clock_of


def lacking(session: Session, target: Target, store: Store) -> int:
    """How many short processes ``reference_ms`` would have to run first."""
    return REFERENCE_COUNT - len(store.reference_times(clock(session, target)))


def reference_ms(session: Session, target: Target, store: Store) -> float:
    """In ms; measured now where the store does not know this device with these settings yet: some 8 s on a PC.

    Raises what a measurement raises.
    """
    missing = lacking(session, target, store)
    if missing > 0:
        store.add_reference(clock(session, target), measure.calibrate(session, target, missing))
    found = store.reference_ms(clock(session, target))
    if found is None:
        raise UnavailableError(f"target {target.name}: the store has lost the calibration times just added to it")
    return found


def clock(session: Session, target: Target) -> str:
    return clock_of(session.fingerprint(target), target, calibration_digest())
