"""What a fleet file says of a meter, checked: a name, or a table of a name and the keys of that meter's dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import pydantic

from devices import meters, toml
from devices.transports import at_home
from profiles import registry
from profiles.errors import InputError


def read_meter(path: Path, device: str, given: Any) -> dict[str, Any]:
    """``name`` and all keys, as ``meters.create`` takes them. A file's ``Path`` is looked for beside the fleet file.

    Raises InputError naming ``path`` and key.
    """
    where, key = str(path), f"devices.{device}.meter"
    keys = {"name": given} if isinstance(given, str) else dict(given) if isinstance(given, dict) else {}
    name = keys.pop("name", None)
    if not isinstance(name, str):
        known = ", ".join(registry.names("devices.meters"))
        raise InputError.of(where, key, given, f'one of {known}, or a table such as {{name = "rapl", ...}}')
    with _said_of(f"{where}: {key}"):
        kind = meters.meter_class(name)
    setting = {"name": name, **toml.validate(keys, _model(kind), where, prefix=f"{key}.").model_dump()}
    for inner, value in setting.items():
        if isinstance(value, Path):
            try:
                setting[inner] = path.parent / at_home(str(value))
            except ValueError as error:
                raise InputError.of(where, f"{key}.{inner}", str(value), str(error)) from None
            if not setting[inner].is_file():
                accepted = f"a file; there is none at {setting[inner]}"
                raise InputError.of(where, f"{key}.{inner}", str(value), accepted)
    with _said_of(f"{where}: {key}"):
        meters.create(setting)
    return setting


def _model(kind: Any) -> type[pydantic.BaseModel]:
    """The dataclass as pydantic checks it; on the device there is no pydantic."""
    hints = get_type_hints(kind)
    fields: Any = {
        field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(kind)
    }
    return pydantic.create_model("Meter", __config__=pydantic.ConfigDict(extra="forbid"), **fields)


@contextmanager
def _said_of(place: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
