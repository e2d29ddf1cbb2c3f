"""Tables and figures as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

_BETWEEN, _EDGES = 2, 2  # blanks between two columns, and left and right of the table
_HUGE = 1e15  # from here on a figure has an exponent


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """To stdout: drawn on a terminal, tab-separated where it is piped, so that ``cut`` and ``sort`` can work on it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False, highlight=False)  # names of models may have [brackets]
    if not console.is_terminal:
        for line in (heads, *rows):
            print("\t".join(line))
        return
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    widths = _widths(heads, rows, console.width)
    for number, head in enumerate(heads):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        width = widths[number] if widths else None
        drawn.add_column(_broken(head, width), justify=justify, overflow="fold", width=width)
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def folded(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """As ``table``; one that is too wide for the terminal goes on below, its first column repeated, and columns
    without any figure are left out. Where it is piped, nothing is: the columns are always the same.
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        table(heads, rows)
        return
    kept = [place for place in range(len(heads)) if place == 0 or any(row[place] != "-" for row in rows)]
    for places in _folds(heads, rows, kept, console.width):
        table([heads[place] for place in places], [[row[place] for place in places] for row in rows], title)
        title = None


def _folds(heads: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], room: int) -> list[list[int]]:
    """Columns of each part, the first of ``kept`` in all of them."""

    def width(place: int) -> int:
        return max(len(text.rstrip()) for text in (*_pieces(heads[place]), *(row[place] for row in rows)))

    first, *others = kept
    parts = [[first]]
    taken = start = len(heads[first]) if not rows else max(len(heads[first]), width(first))
    for place in others:
        if len(parts[-1]) > 1 and taken + _BETWEEN + width(place) + _EDGES > room:
            parts.append([first])
            taken = start
        parts[-1].append(place)
        taken += _BETWEEN + width(place)
    return parts


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Where there is room for the figures and not for the heads: widths that break the heads, and no figure."""
    widths = [max((len(row[number]) for row in rows), default=0) for number in range(len(heads))]
    widths[0] = max(widths[0], len(heads[0]))
    left = room - sum(widths) - _BETWEEN * (len(heads) - 1) - _EDGES
    if not 0 <= left < sum(max(0, len(head) - width) for head, width in zip(heads, widths, strict=True)):
        return None
    longest = [max(len(piece.rstrip()) for piece in _pieces(head)) for head in heads]
    for _ in range(left):  # first where a word would be cut
        cut = [number for number in range(len(heads)) if widths[number] < longest[number]]
        neediest = max(cut or range(len(heads)), key=lambda number: len(heads[number]) / max(1, widths[number]))
        widths[neediest] += 1
    return widths


def _broken(head: str, width: int | None) -> str:
    """In lines of at most ``width`` where its words, which may be joined by "_" or "@", allow it."""
    lines = [""]
    for piece in _pieces(head):
        if width is not None and lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _pieces(head: str) -> list[str]:
    return re.split(r"(?<=[ _@])", head)


def figure(value: float | None, error: float | None = None) -> str:
    """Four significant digits, but all before the point; or as many as the error allows: 0.1234 ± 0.0012. Not measured:
    "-".
    """
    if value is None:
        return "-"
    if error is None or not error > 0:
        return f"{value:.0f}" if 1000 <= abs(value) < _HUGE else f"{value:.4g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def duration(seconds: float) -> str:
    """8 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
