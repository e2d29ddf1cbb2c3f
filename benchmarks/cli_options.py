"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiles.errors import InputError

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a TOML key (repeatable).")]
Fleet = Annotated[
    Path | None, typer.Option("--fleet", help="Fleet file; without one there is the target local, this machine's CPU.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where results are kept; default hwnas.db beside the fleet file."),
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=SIZES", help="Shape of an input, as input=1x3x224x224 (repeatable)."),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write a table for spreadsheets.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write one self-contained page.")]


def overrides_of(pairs: list[str] | None) -> dict[str, str]:
    """Of ``--set``. Raises InputError."""
    return dict(pair_of("--set", pair, "KEY=VALUE") for pair in pairs or [])


def pair_of(option: str, text: str, form: str) -> tuple[str, str]:
    """'a=b' -> ("a", "b"). Raises InputError, which names ``option`` and the ``form`` that is accepted."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{option}: given {text!r}; accepted: {form}")
    return key, value
