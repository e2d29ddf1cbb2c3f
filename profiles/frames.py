"""Profiles as tables: pandas frames, and CSV files that can be read back. Raw times are left out of both."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.errors import InputError
from profiles.files import write_text
from profiles.records import Profile

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import TypeAdapter

_SPREAD = ("latency_ms", "calibration")  # of known fields: one column each; other nested values are JSON in one cell
_TEXT = {
    "model", "digest", "target", "target_device", "target_provider", "engine", "precision", "python", "provider",
    "time", "command", "meter", "stopped", "calibration.digest", "energy_reason",
}  # fmt: skip


def frame(profiles: Sequence[Profile]) -> pd.DataFrame:
    """One row per profile, in the order given; nested fields as dotted columns, such as ``latency_ms.p50``."""
    import pandas as pd

    return pd.json_normalize([profile.to_dict(raw=False) for profile in profiles])


def times_frame(profiles: Iterable[Profile]) -> pd.DataFrame:
    """One row per raw time: time, model, target, process, group, arm, disturbed, latency_ns."""
    import pandas as pd

    columns = ["time", "model", "target", "process", "group", "arm", "disturbed", "latency_ns"]
    rows = [
        (one.time, one.model, one.target.name, b.process, b.group, b.arm, b.disturbed, latency_ns)
        for one in profiles
        for b in one.blocks
        for latency_ns in b.latencies_ns
    ]
    return pd.DataFrame(rows, columns=columns)


def write_csv(profiles: Sequence[Profile], path: Path) -> None:
    """What was not measured is an empty cell; dictionaries and lists are JSON."""
    rows = [_flat(profile) for profile in profiles]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_csv(path: Path) -> list[Profile]:
    """The inverse of ``write_csv``, without raw times. Raises InputError naming file and line."""
    limit = csv.field_size_limit(sys.maxsize)  # of the whole process; the operators of one network may take more
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise InputError(f"{path}: holds no profiles; accepted: a file that `hwnas store export` wrote")
    found = []
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"{path}: line {number}: has more or fewer cells than the first line")
        try:
            found.append(_checked(_nested(row)))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}"
            raise InputError(
                f"{path}: line {number}: not a profile as `hwnas store export` writes it: {what}"
            ) from None
    return found


def _flat(profile: Profile) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in profile.to_dict(raw=False).items():
        parts = {f"{key}.{name}": part for name, part in value.items()} if key in _SPREAD else {key: value}
        found |= {name: _cell(part) for name, part in parts.items()}
    return found


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _nested(row: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {key: {} for key in _SPREAD}
    for column, text in row.items():
        value = _value(column, text)
        key, _, name = column.partition(".")
        if name:
            found[key][name] = value
        else:
            found[key] = value
    return found


def _value(column: str, text: str) -> Any:
    if column in ("command", "time", "stopped"):
        return text
    if text == "":
        return None
    return text if column in _TEXT else json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no figure; what was not measured is an empty cell")


def _checked(value: dict[str, Any]) -> Profile:
    """One whose every field is of its type, and which has what readers divide by. Raises ValueError."""
    from pydantic import ValidationError

    # What has a default and an empty cell was not known to the hwnas that wrote it, or was not measured.
    optional = {one.name for one in dataclasses.fields(Profile) if not _is_required(one)}
    value = {key: part for key, part in value.items() if part is not None or key not in optional}
    try:
        checked = _types().validate_python(dataclasses.asdict(Profile.from_dict(value)))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: given {first['input']!r}: {first['msg']}") from None
    json.dumps(checked.to_dict(), allow_nan=False)  # 1e999 is an infinity
    for name, text in (("model", checked.model), ("digest", checked.digest), ("target", checked.target.name)):
        if not text:
            raise ValueError(f"{name} is empty")
    datetime.fromisoformat(checked.time)
    above = {
        "latency_ms_calibrated": checked.latency_ms_calibrated,
        "calibration.reference_ms": checked.calibration.reference_ms,
        "calibration.measured_ms": checked.calibration.measured_ms,
    }
    for name, figure in above.items():
        if not figure > 0:
            raise ValueError(f"{name} is {figure!r}; accepted: a number above 0")
    return checked


@functools.cache
def _types() -> TypeAdapter[Profile]:
    """What pydantic knows of the fields; made once, not for each line."""
    from pydantic import TypeAdapter

    return TypeAdapter(Profile)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
