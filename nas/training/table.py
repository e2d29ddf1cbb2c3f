"""What training would have given, looked up in a table of finished trainings, as benchmarks of the field publish them.

    [train]
    table = "macro.csv.gz"      # relative to the study file; .csv or .csv.gz

One row per network: a column for each choice of the space, named like it, and one for each metric that the study names
and that nothing else gives, such as ``val_accuracy``. A network that several choices give may be written with any of
them. Other columns are left alone. Not covered: tables with several rows per network (seeds, budgets).
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.spaces import Choice, Parameter, SearchSpace, canonical
from profiles.errors import InputError, TrialError

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """``rows``: values of the canonical choices, in the order of ``names`` -> metrics."""

    path: Path
    names: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: Mapping[Key, tuple[float, ...]]

    def look_up(self, choices: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of these canonical choices. Raises TrialError where the table lacks them."""
        found = self.rows.get(tuple(choices[name] for name in self.names))
        if found is None:
            told = ", ".join(f"{name} = {choices[name]}" for name in self.names)
            raise TrialError(f"{self.path.name} has no row for {told}")
        return dict(zip(self.metrics, found, strict=True))


def read_table(path: Path, space: SearchSpace, metrics: Sequence[str]) -> Table:
    """Raises InputError, naming the file and the line or column, where it is no such table of ``space``."""
    parameters = list(space.parameters)
    names = [parameter.name for parameter in parameters]
    accepted = "one column for each choice of the space and for each metric that the study takes from it"
    rows = read_cells(path, [*names, *metrics], accepted)
    found: dict[Key, tuple[float, ...]] = {}
    lines: dict[Key, int] = {}
    for number, cells in enumerate(rows, start=2):
        where = f"{path}: line {number}"
        written = {parameter.name: value_in(where, parameter, cells[parameter.name]) for parameter in parameters}
        try:
            key = tuple(canonical(space, written).values())  # in the order of the parameters
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        values = tuple(_finite(where, name, cells[name]) for name in metrics)
        first = lines.setdefault(key, number)
        if found.setdefault(key, values) != values:
            raise InputError(f"{where}: line {first} says otherwise of the same network; accepted: one line each")
    if not found:
        raise InputError(f"{path}: no rows; accepted: one for each network")
    return Table(path, tuple(names), tuple(metrics), found)


def read_cells(path: Path, columns: Sequence[str], accepted: str) -> list[dict[str, str]]:
    """The lines after the first, by its names. Raises InputError also where one of ``columns``, which are ``accepted``
    in words, is not there or twice.
    """
    try:
        plain = path.suffix != ".gz"
        # Excel marks UTF-8 at the beginning of the file.
        with path.open("rb") if plain else gzip.open(path) as packed:
            lines = list(csv.reader(io.TextIOWrapper(packed, "utf-8-sig", newline=""), strict=True))
        while lines and not lines[-1]:
            lines.pop()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; accepted: a .csv or .csv.gz file") from error
    except (csv.Error, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a table: {error}; accepted: a .csv or .csv.gz file") from error
    heads, *rows = lines or [[]]
    for name in columns:
        if heads.count(name) != 1:
            raise InputError(f"{path}: column {name}: given {heads.count(name)} of that name; accepted: {accepted}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(heads):
            raise InputError(f"{path}: line {number}: given {len(row)} cells; accepted: {len(heads)}, as in line 1")
    return [dict(zip(heads, row, strict=True)) for row in rows]


def value_in(where: str, parameter: Parameter, cell: str) -> Any:
    """What the cell of a choice means: the value as text; numbers may be written in any way."""
    if isinstance(parameter, Choice):
        for value in parameter.values:
            if str(value) == cell:
                return value
    number = _number(cell)
    if number is None or not parameter.accepts(number):
        raise InputError.of(where, parameter.name, cell, parameter.accepted)
    return parameter.normal(number)


def _finite(where: str, name: str, cell: str) -> float:
    number = _number(cell)
    if number is None:
        raise InputError.of(where, name, cell, "a finite number")
    return number


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
