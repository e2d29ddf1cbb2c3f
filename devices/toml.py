"""TOML files as checked values, and their errors as one line that names file and key.

    budget = load_toml(Path("study.toml"), Study, {"budget.trials": "8"}).budget

``Study`` is a pydantic model. A validator of it raises ``ValueError("what is accepted")``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from profiles.errors import InputError

Model = TypeVar("Model", bound=pydantic.BaseModel)

_LARGEST = 1 << 20  # bytes

# The start of the name of a pydantic error about a type -> what is accepted.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "dict": "a table",
    "model": "a table",
}


def load_toml(path: Path, model: type[Model], overrides: Mapping[str, str] | None = None) -> Model:
    """The file as a ``model``, after ``overrides`` (``a.b`` -> text, as of ``--set a.b=text``).

    Raises InputError: the file is missing or not TOML; a key is unknown, missing or has a value that is not accepted.
    """
    overrides = overrides or {}
    return validate(override(read_toml(path), overrides), model, str(path), overrides)


def read_toml(path: Path) -> dict[str, Any]:
    """Raises InputError where the file is missing, unreadable or not TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path}: accepted: a TOML file of up to {_LARGEST:,} bytes")
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors mark UTF-8
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not TOML: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 1000 brackets
        raise InputError(f"{path}: not TOML that can be used: {error}") from None


def override(data: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """A copy of ``data`` with some keys replaced; ``objective.0.goal`` reaches into a list.

    A value is read as TOML (``8``, ``true``, ``[1, 2]``, ``"text"``), else taken as a bare string (``4x``, ``/data``).
    Raises InputError where the way to a key leads through something that is not a table.
    """
    changed: dict[str, Any] = _copy(data)
    for key, text in overrides.items():
        *way, last = key.split(".")
        place: Any = changed
        for part in way:
            place = place.setdefault(part, {}) if isinstance(place, dict) else _item(place, part, key, text)
        if isinstance(place, dict):
            place[last] = toml_value(text)
        else:
            _item(place, last, key, text)
            place[int(last)] = toml_value(text)
    return changed


def toml_value(text: str) -> Any:
    """``8`` -> 8, ``true`` -> True, ``"8"`` -> '8'; what is not a TOML value, and a date, is the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    return value if len(parsed) == 1 and isinstance(value, (bool, int, float, str, list, dict)) else text


def validate(
    data: Mapping[str, Any],
    model: type[Model],
    where: str,
    overrides: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Model:
    """``data`` as a ``model``. Raises InputError: one line about the first thing that is wrong, naming ``where``.

    ``overrides``: keys that came from the command line, which the message then names instead of ``where``. ``prefix``
    stands before keys in messages, as in "devices.pi5.", where ``data`` is a table inside a file.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False)
    first = _key(problems[0], data)
    same = [problem for problem in problems if _key(problem, data) == first]
    key = prefix + first
    given = (overrides or {}).get(key)
    others = len({_key(problem, data) for problem in problems}) - 1
    more = f" (and {others} more)" if others else ""
    source = where if given is None else f"--set {key}={given}"
    place = ": ".join(part for part in (source, key if given is None else "") if part)
    if same[0]["type"] == "missing":
        raise InputError(f"{place}: missing; add it{more}")
    if same[0]["type"] == "extra_forbidden":
        known = _fields(model, same[0]["loc"])
        close = difflib.get_close_matches(str(same[0]["loc"][-1]), known, 1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise InputError(f"{place}: unknown key{hint}; accepted: {', '.join(known)}{more}")
    accepted = " or ".join(dict.fromkeys(_accepted(problem) for problem in same)) + more
    if given is None:
        raise InputError.of(where, key, same[0]["input"], accepted)
    raise InputError(f"{place}: accepted: {accepted}")


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _item(place: Any, part: str, key: str, text: str) -> Any:
    if not isinstance(place, list):
        raise InputError(f"--set {key}={text}: {part!r} is inside a value that is not a table")
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(place):
        raise InputError(f"--set {key}={text}: given {part!r}; accepted: a number from 0 to {len(place) - 1}")
    return place[int(part)]


def _key(problem: Any, data: Any) -> str:
    """The dotted key in the file; pydantic's location also holds names of union members, which the file has not."""
    keys, loc = [], problem["loc"]
    for position, part in enumerate(loc):
        last_missing = problem["type"] == "missing" and position == len(loc) - 1
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        elif not last_missing:
            continue
        keys.append(str(part))
    return ".".join(keys)


def _accepted(problem: Any) -> str:
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"].endswith(("_type", "_parsing", "_from_float")):
        for name, text in _TYPES.items():
            if problem["type"].startswith(name):
                return text
    text = str(problem["msg"])
    return text.removeprefix("Input should be ").removeprefix("Input should ")


def _fields(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """The keys that the model at ``loc`` knows: found by following annotations, through lists, dicts and unions."""
    candidates: list[Any] = [model]
    for part in loc[:-1]:
        inner: list[Any] = []
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, pydantic.BaseModel):
                for name, field in candidate.model_fields.items():
                    if part in (name, field.alias):
                        inner += _models(field.annotation)
        candidates = inner or candidates  # a key of a dict, an index or a union member: stay
    return [field.alias or name for candidate in candidates for name, field in candidate.model_fields.items()]


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]
