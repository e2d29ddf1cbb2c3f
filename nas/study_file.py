"""The file of a study: read with what it names looked up, written as it was run, and compared on resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from devices.toml import load_toml
from nas.spaces import canonical, check, find_space
from nas.study import Baseline, Data, Study
from profiles import files
from profiles.errors import InputError
from profiles.registry import find, names

# Data set -> its option that is a path.
_DATA_FILES = {"npz": "file", "mnist": "dir", "fashion_mnist": "dir"}


def load_study(path: Path, overrides: Mapping[str, str] | None = None) -> Study:
    """The study in ``path``, its paths absolute; the space, generator and choices that it names are looked up too.

    Raises InputError naming file and key. The files that it names need not be there, see ``require_files``.
    """
    study = load_toml(path, Study, overrides)
    return _with_found_names(study, path)


def read_study(path: Path) -> Study:
    """As ``write_study`` wrote it. Nothing that it names is looked up: a run of somebody else's space can be read."""
    return load_toml(path, Study)


def require_files(study: Study) -> None:
    """Raises InputError, naming the key, unless the script or table is there that a search needs."""
    for key, file in (("script", study.train.script), ("table", study.train.table)):
        if file is not None and not Path(file).is_file():
            raise InputError(f"train.{key}: given {file!r}; accepted: a file; there is none at {file}")


def write_study(study: Study, path: Path) -> None:
    files.write_text(path, tomli_w.dumps(study.model_dump(exclude_none=True)))


def same_search(old: Study, new: Study) -> list[str]:
    """Keys in which the two differ, other than a budget that grew; none: ``new`` may go on where ``old`` stopped.

    How many jobs run at once, and how many failures are too many, is no part of the search.
    """
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    keys = ({**before, **after}).keys() - {"budget.failures", "budget.parallel"}
    changed = sorted(key for key in keys if before.get(key) != after.get(key))
    return [key for key in changed if not (key.startswith("budget.") and _grew(before.get(key), after.get(key)))]


def _grew(before: Any, after: Any) -> bool:
    return after is None or (before is not None and after >= before)


def _with_found_names(study: Study, path: Path) -> Study:
    _look_up(path, "space", lambda: find_space(study.space))
    _look_up(path, "quantise", lambda: find_space(study.full_space))
    _look_up(path, "search.generator", lambda: _generator_exists(study.search.generator))
    if study.baseline is not None and study.baseline.onnx is not None:
        onnx = _beside(path, study.baseline.onnx)
        study = study.model_copy(update={"baseline": Baseline(onnx=onnx)})
    elif study.baseline is not None:
        space = find_space(study.full_space)
        choices = study.baseline.choices
        _look_up(path, "baseline.choices", lambda: check(space, choices))
        study = study.model_copy(update={"baseline": Baseline(choices=canonical(space, choices))})
    study = study.model_copy(update={"data": _with_found_files(study.data, path)})
    runs = [_beside(path, run) for run in study.search.transfer]
    study = study.model_copy(update={"search": study.search.model_copy(update={"transfer": runs})})
    train = {"script": study.train.script, "table": study.train.table}
    found = {key: None if name is None else _beside(path, name) for key, name in train.items()}
    return study.model_copy(update={"train": study.train.model_copy(update=found)})


def _with_found_files(data: Data, path: Path) -> Data:
    """Of a data set of ours; what the options of one of the user's own mean is known to that alone."""
    key = "name" if data.name.endswith(".npz") else _DATA_FILES.get(data.name)
    given = None if key is None else data.model_dump().get(key)
    return data.model_copy(update={key: _beside(path, given)}) if key and isinstance(given, str) else data


def _beside(study: Path, name: str) -> str:
    """The absolute path of ``name``, which is relative to the study."""
    return os.path.realpath(study.parent / os.path.expanduser(name.replace("\0", "")))


def _generator_exists(name: str) -> None:
    if ":" in name:
        if not callable(getattr(find("nas.generators", name), "create", None)):
            raise InputError(f"{name}: it has no function create(spec, seed), which makes a generator")
    elif name not in names("nas.generators"):
        raise InputError(f"no generator named {name!r}; there are: {', '.join(names('nas.generators'))}")


def _look_up(path: Path, key: str, find_it: Any) -> None:
    try:
        find_it()
    except InputError as error:
        raise InputError(f"{path}: {key}: {error}") from error


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
