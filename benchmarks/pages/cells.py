"""Cells of tables, as the templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """``share``: 0..1, drawn as a bar beside the text. ``number``: aligned to the right. ``whole``: on one line."""

    text: str
    href: str | None = None
    share: float | None = None
    number: bool = False
    code: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The first cell of each row is its heading. Without ``heads`` the rows explain themselves."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False  # by the heads, which are buttons then
    of_trials: bool = False  # a row each, which can be chosen and filtered


def text(value: object) -> Cell:
    return Cell(text=str(value))


def number(value: object) -> Cell:
    return Cell(text=str(value), number=True)


def code(value: object) -> Cell:
    return Cell(text=str(value), code=True)
