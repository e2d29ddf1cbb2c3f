"""What the name of a target stands for: settings, and a device. Figures of unlike ones are not to be mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.fleet import Fleet, load_fleet
from nas.results import Results
from profiles.errors import InputError
from profiles.records import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``where``: the run or fleet file that says so. ``fingerprint``: the device's, ``None`` where it is not known."""

    where: str
    target: Target
    fingerprint: Mapping[str, Any] | None = None

    def described(self, device: bool) -> dict[str, Any]:
        """Flat: {"threads": 1, ...}, and of the ``device`` {"cpu": ..., "onnxruntime": "1.32.0", ...}."""
        known = dict(self.fingerprint or {}) if device else {}
        return self.target.settings | known.pop("versions", {}) | known


def agreed(name: str, runs: Sequence[Results], fleet: Fleet | None) -> Setting | None:
    """Of the target ``name``, as the runs that have it and the fleet file say, or else as it is without such a file;
    ``None``: there is none of that name. Raises InputError where two of them differ.
    """
    found = [one for results in runs if (one := _begun(name, results)) is not None]
    if fleet is not None and name in fleet.targets:
        found.append(Setting(where=fleet.where, target=fleet.targets[name]))
    if not found:
        usual = load_fleet()
        return Setting(where=usual.where, target=usual.targets[name]) if name in usual.targets else None
    first = found[0]
    for other in found[1:]:
        device = None not in (first.fingerprint, other.fingerprint)
        given, accepted = other.described(device), first.described(device)
        differ = [key for key in {**accepted, **given} if given.get(key) != accepted.get(key)]
        if differ:
            raise InputError(
                f"{other.where}: given {name} with {_told(given, differ)}; accepted: with {_told(accepted, differ)}, "
                f"as in {first.where}"
            )
    return first


def _begun(name: str, results: Results) -> Setting | None:
    """As it was when the search began."""
    described = results.started.data["targets"].get(name)
    if described is None:
        return None
    known = {field.name: described[field.name] for field in dataclasses.fields(Target) if field.name in described}
    return Setting(where=str(results.folder.path), target=Target(**known), fingerprint=described.get("fingerprint"))


def _told(described: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} = {described.get(key)}" for key in keys)
