"""Plug-ins are found by name: one file in a package, an entry point, or ``package.module:object``.

    find("devices.engines", "onnxruntime")     the module devices/engines/onnxruntime.py
    find("nas.spaces", "my_lab")               entry point "my_lab" of the group "hwnas.spaces"
    find("nas.spaces", "my_package.nets:cell") that object

There is no list to keep: a new file in the package is a new name, and the contract tests run over
``names(package)``. Nothing is imported but the plug-in that is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from profiles.errors import InputError, UnavailableError, one_line


def names(package: str) -> list[str]:
    """All names that ``find`` knows in ``package``, sorted. Imports no plug-in."""
    return sorted(_files(package) | {point.name for point in _entry_points(package)})


def find(package: str, name: str) -> Any:
    """The plug-in ``name`` of ``package``.

    Raises InputError where there is none of that name (it lists those there are) and
    UnavailableError where it exists and something that it imports does not, or fails.
    """
    if ":" in name:
        return _object(name)
    if name not in _files(package):  # asked first: looking through all installed packages takes 0.1 s
        for point in _entry_points(package):
            if point.name == name:
                try:
                    return point.load()
                except Exception as error:  # another package's module: anything
                    raise UnavailableError(f"{_kind(package)} {name} cannot be imported: {one_line(error)}") from error
        raise InputError(
            f"no {_kind(package)} named {name!r}; there are: {', '.join(names(package))}, or package.module:object"
        )
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{_kind(package)} {name} needs the package {error.name}: pip install {error.name}"
        ) from error
    except Exception as error:  # the package is there, and a library or a driver that it needs is not
        if not isinstance(error, ImportError | OSError | RuntimeError) and type(error) is not Exception:
            raise  # a fault of the file
        raise UnavailableError(f"{_kind(package)} {name} cannot be imported: {one_line(error)}") from error


def _files(package: str) -> set[str]:
    path = importlib.import_module(package).__path__
    return {module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")}


def _entry_points(package: str) -> Any:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return entry_points(group="hwnas." + package.rpartition(".")[2])


def _object(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"{name}: cannot import {module_name} ({error}); is its folder on PYTHONPATH?") from error
    except Exception as error:  # a module of the user's: anything
        raise InputError(f"{name}: importing {module_name} failed: {one_line(error)}") from error
    if hasattr(module, attribute):
        return getattr(module, attribute)
    inner = f"{module_name}.{attribute}"
    try:  # a space, a generator and others may be modules, which their package need not have imported
        return importlib.import_module(inner)
    except Exception as error:  # a module of the user's: anything
        if isinstance(error, ModuleNotFoundError) and f"{inner}.".startswith(f"{error.name}."):
            raise InputError(f"{name}: the module {module_name} has no object {attribute!r}") from None
        raise InputError(f"{name}: importing {inner} failed: {one_line(error)}") from error


def _kind(package: str) -> str:
    """'nas.spaces' -> 'space', for messages."""
    return package.rpartition(".")[2].removesuffix("s")
